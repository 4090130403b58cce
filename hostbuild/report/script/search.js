// The search box: words that a module's or a device's text has to hold, all of them.

const loadText = new Map(data.loads.map((load) => [load.module, [load.module, load.outcome, load.message, load.kind,
  ...load.causes.flatMap((cause) => [cause.devpath, cause.alias, cause.module, cause.request])].join(" ").toLowerCase()]));
const deviceText = data.devices.map((device) => [device.path, device.subsystem, device.node, device.modalias, device.driver, device.driver_module, device.kind,
  ...device.matches.flatMap((match) => [match.module, match.alias])].join(" ").toLowerCase());
function applySearch() {
  if (!items.length) return;
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  const hits = (text) => words.every((word) => text.includes(word));
  let modules = 0, devices = 0;
  for (const row of rows) {
    const hit = hits(loadText.get(row.dataset.module));
    row.classList.toggle("out", !hit);
    modules += hit;
  }
  const stays = data.devices.map(() => !words.length);
  if (words.length) {
    const all = $("tree").classList.contains("all");
    data.devices.forEach((device, index) => {
      const hit = hits(deviceText[index]) && (device.tells || all);
      items[index].firstElementChild.classList.toggle("hit", hit);
      devices += hit;
      for (let at = index; hit && at >= 0 && !stays[at]; at = data.devices[at].parent) stays[at] = true;
    });
  } else for (const item of items) item.firstElementChild.classList.remove("hit");
  items.forEach((item, index) => item.classList.toggle("out", !stays[index]));
  $("found").textContent = words.length ? `${plural(modules, "module")}, ${plural(devices, "device")}` : "";
}
let typing = 0;
$("search").addEventListener("input", (event) => {
  query = event.target.value;
  clearTimeout(typing);
  typing = setTimeout(applySearch, 60);
});
