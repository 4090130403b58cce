// The search box: words that a module's or a device's text has to hold, all of them.

const textOfLoad = (load) => [load.module, load.outcome, load.message, load.kind,
  ...load.causes.flatMap((cause) => [cause.devpath, cause.alias, cause.module, cause.request])].join(" ").toLowerCase();
const textOfDevice = (device) => [device.path, device.subsystem, device.node, device.modalias, device.driver, device.driver_module,
  device.kind, ...device.matches.flatMap((match) => [match.module, match.alias])].join(" ").toLowerCase();
const loadTexts = new Map(), deviceTexts = [];  // made when something is searched for the first time
let found = new Set();  // devices whose text holds the words

function textOf(load) {
  if (!loadTexts.has(load)) loadTexts.set(load, textOfLoad(load));
  return loadTexts.get(load);
}
function applySearch() {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  const hits = (text) => words.every((word) => text.includes(word));
  found = new Set();
  if (!words.length) {
    $("found").textContent = "";
    timeline.show(inTime);
    if (parents.length) drawTree();
    return;
  }
  const loads = inTime.filter((load) => hits(textOf(load)));
  const stays = new Array(data.devices.length).fill(false);
  data.devices.forEach((device, index) => {
    if (!isShown(index) || !hits(deviceTexts[index] ??= textOfDevice(device))) return;
    found.add(index);
    for (let at = index; at >= 0 && !stays[at]; at = parents[at]) stays[at] = true;
  });
  timeline.show(loads);
  if (parents.length) drawTree(stays);
  $("found").textContent = `${plural(loads.length, "module")}, ${plural(found.size, "device")}`;
}
let typing = 0;
$("search").addEventListener("input", (event) => {
  query = event.target.value;
  clearTimeout(typing);
  typing = setTimeout(applySearch, 60);
});
