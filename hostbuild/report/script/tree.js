// The device tree, as lines with a depth, and each device's modules as chips.

const indexOfPath = new Map(data.devices.map((device, index) => [device.path, index]));
const indexOf = (path) => indexOfPath.get(path) ?? -1;
const firstAsker = new Map();  // module -> index of the device that had it loaded
for (const load of data.loads) {
  const cause = load.causes.find((one) => one.devpath);
  const index = cause ? indexOf(cause.devpath) : -1;
  if (index >= 0 && load.causes[0].devpath) firstAsker.set(load.module, index);
}
const tree = new List($("tree-box"), $("tree"), 24, makeNode);
const shut = new Set();  // devices that are folded
let everything = false;  // those with nothing to report as well?
let depths = [], parents = [];  // of each device as it is shown now; parents[i] is -1 for a root

function chip(module, again) {
  const load = find(module), bad = load && !succeeded(load);
  const time = load && load.own >= 0 && !again ? ` ${span(load.own)}` : bad ? ` ${load.outcome}` : "";
  return el("span", { class: `chip${again ? " again" : ""}${bad ? " is-bad" : ""}`, "data-module": module,
    style: kindStyle(load ? load.kind : "other") }, module + time);
}
function makeNode(index) {
  const device = data.devices[index];
  const modules = [...new Set(device.matches.map((match) => match.module))];
  const own = modules.filter((module) => firstAsker.get(module) === index);
  const later = device.bound >= 0 ? `+${span(device.bound - device.seen)}` : "";
  const folds = hasChildren.has(index);
  return dress(el("li", { class: `node${device.tells ? "" : " silent"}`, role: "treeitem", "data-device": index,
    "aria-level": depths[index] + 1, "aria-expanded": folds ? String(!shut.has(index)) : null,
    style: { ...kindStyle(device.kind), "--depth": depths[index] } },
    el("button", { class: "fold", type: "button", tabindex: "-1", "aria-label": "Fold", hidden: !folds }, "▾"),
    el("span", { class: `name${device.gone >= 0 ? " gone" : ""}` }, device.name),
    el("span", { class: "sub" }, device.subsystem),
    device.node && el("span", { class: "dev" }, device.node),
    ...modules.map((module) => chip(module, !own.includes(module))),
    device.driver && el("span", { class: "drv" }, `▸ ${device.driver}`),
    device.former && el("span", { class: "sub" }, `was driven by ${device.former}`),
    device.idle_drivers.length && !device.former ? el("span", { class: "bad" }, `unbound: ${device.idle_drivers.join(", ")} did not take it`) : "",
    later && el("span", { class: "late", title: "from when it was seen to when a driver took it" }, later)));
}
/** Which devices are shown, and below which: a parent with nothing to report is passed over, unless all are shown. */
function arrange() {
  const { devices } = data;
  parents = devices.map((device) => {
    let { parent } = device;
    while (!everything && parent >= 0 && !devices[parent].tells) parent = devices[parent].parent;
    return parent;
  });
  depths = [];
  hasChildren.clear();
  parents.forEach((parent, index) => {
    depths[index] = parent < 0 ? 0 : depths[parent] + 1;
    if (parent >= 0 && isShown(index)) hasChildren.add(parent);
  });
}
const hasChildren = new Set();
const isShown = (index) => everything || data.devices[index].tells;
/** Draw the devices for which `stays` is true; folds do not count while something is searched. */
function drawTree(stays = null) {
  const folded = [], entries = [];
  for (let index = 0; index < parents.length; index += 1) {
    const parent = parents[index];
    folded[index] = !stays && parent >= 0 && (folded[parent] || shut.has(parent));
    if (isShown(index) && !folded[index] && (!stays || stays[index])) entries.push(index);
  }
  tree.show(entries);
}
$("all-devices").onchange = (event) => {
  everything = event.target.checked;
  arrange();
  applySearch();
};
function fold(index, isShut) {
  if (!hasChildren.has(index)) return;
  if (isShut) shut.add(index); else shut.delete(index);
  applySearch();
  tree.row(tree.entries.indexOf(index))?.focus({ preventScroll: true });
}
/** Have a device drawn, whatever hides it; gives its line. */
function revealDevice(index) {
  if (!data.devices[index].tells && !everything) { $("all-devices").checked = everything = true; arrange(); }
  for (let above = parents[index]; above >= 0; above = parents[above]) shut.delete(above);
  applySearch();
  if (!tree.entries.includes(index)) { $("search").value = query = ""; applySearch(); }
  return tree.reveal(tree.entries.indexOf(index));
}
