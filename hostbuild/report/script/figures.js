// The head: title, kernel, and the numbers of the boot.

$("title").textContent = data.title;
$("subtitle").textContent = [data.kernel && `Linux ${data.kernel}`, data.version && `modaliasd ${data.version}`,
  `${data.devices.length} devices, ${data.loads.length} loads`].filter(Boolean).join("  ·  ");
{
  const sum = data.summary, bad = data.failures.length;
  const lost = data.losses.reduce((total, record) => total + (record.events || 0), 0);
  const show = (value, label, isBad = false) =>
    $("figures").append(el("div", { class: `figure${isBad ? " is-bad" : ""}` }, el("b", {}, String(value)), el("span", {}, label)));
  show(data.settled < 0 ? "not yet" : span(data.settled - data.started), "to settle", data.settled < 0);
  show(sum.devices ?? data.devices.length, "devices");
  show(sum.matched ?? data.devices.filter((device) => device.matches.length).length, "matched a module");
  show(sum.bound ?? data.devices.filter((device) => device.driver).length, "have a driver");
  show(data.loads.filter((load) => load.outcome === "inserted").length, "modules loaded");
  show(bad, "failed, denied or unbound", bad > 0);
  if (lost) show(lost, "uevents lost, recovered", true);
}
