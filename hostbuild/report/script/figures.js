// The head: title, kernel, and the numbers of the boot.

$("title").textContent = data.title;
$("subtitle").textContent = [data.kernel && `Linux ${data.kernel}`, data.version && `modaliasd ${data.version}`,
  `${plural(data.counts.devices, "device")}, ${plural(data.counts.loaded, "module")} loaded`,
  data.counts.went && `${plural(data.counts.went, "device")} went`].filter(Boolean).join("  ·  ");
{
  const { counts } = data, bad = data.failures.length;
  const lost = data.losses.reduce((total, record) => total + (record.events || 0), 0);
  const show = (value, label, isBad = false) =>
    $("figures").append(el("div", { class: `figure${isBad ? " is-bad" : ""}` }, el("b", {}, String(value)), el("span", {}, label)));
  show(data.settled < 0 ? "not yet" : span(data.settled - data.started), "to settle", data.settled < 0);
  if (data.settled >= 0) show(span(data.settled), "from the kernel's start");
  show(counts.devices, "devices");
  show(counts.matched, "matched a module");
  show(counts.bound, "have a driver");
  show(counts.loaded, "modules loaded");
  show(bad, "failed, denied or unbound", bad > 0);
  if (lost) show(lost, "uevents lost, recovered", true);
}
