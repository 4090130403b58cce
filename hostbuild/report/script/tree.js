// The device tree, with each device's modules as chips. `items` has the list item of every device.

const items = [];
const firstAsker = new Map();  // module -> index of the device that had it loaded
for (const load of data.loads) {
  const cause = load.causes.find((one) => one.devpath);
  const index = cause ? data.devices.findIndex((device) => device.path === cause.devpath) : -1;
  if (index >= 0 && load.causes[0].devpath) firstAsker.set(load.module, index);
}
function chip(module, again) {
  const load = find(module), bad = load && !succeeded(load);
  const time = load && load.own >= 0 && !again ? ` ${span(load.own)}` : bad ? ` ${load.outcome}` : "";
  return el("span", { class: `chip${again ? " again" : ""}${bad ? " is-bad" : ""}`, "data-module": module,
    style: kindStyle(load ? load.kind : "other") }, module + time);
}
function drawTree() {
  const lists = new Map([[-1, $("tree")]]);
  data.devices.forEach((device, index) => {
    const modules = [...new Set(device.matches.map((match) => match.module))];
    const own = modules.filter((module) => firstAsker.get(module) === index);
    const later = device.bound >= 0 ? `+${span(device.bound - device.seen)}` : "";
    const line = el("div", { class: "node", "data-device": index, tabindex: "-1", style: kindStyle(device.kind) },
      el("button", { class: "fold", type: "button", tabindex: "-1", "aria-label": "Fold", hidden: true }, "▾"),
      el("span", { class: `name${device.gone >= 0 ? " gone" : ""}` }, device.name),
      el("span", { class: "sub" }, device.subsystem),
      device.node && el("span", { class: "dev" }, device.node),
      ...modules.map((module) => chip(module, !own.includes(module))),
      device.driver && el("span", { class: "drv" }, `▸ ${device.driver}`),
      device.former && el("span", { class: "sub" }, `was driven by ${device.former}`),
      device.idle_drivers.length && !device.former ? el("span", { class: "bad" }, `unbound: ${device.idle_drivers.join(", ")} did not take it`) : "",
      later && el("span", { class: "late", title: "from when it was seen to when a driver took it" }, later));
    const item = el("li", { role: "treeitem", class: device.tells ? "" : "silent" }, line);
    let parent = device.parent;
    while (parent >= 0 && !data.devices[parent].tells && device.tells) parent = data.devices[parent].parent;
    if (!lists.has(parent)) {
      const list = el("ul", { role: "group" });
      items[parent].append(list);
      items[parent].setAttribute("aria-expanded", "true");
      items[parent].querySelector(".fold").hidden = false;
      lists.set(parent, list);
    }
    lists.get(parent).append(item);
    items.push(item);
  });
  const first = $("tree").querySelector("li:not(.silent) > .node");
  if (first) first.tabIndex = 0;
}
$("all-devices").onchange = (event) => $("tree").classList.toggle("all", event.target.checked);
function fold(item, shut) {
  if (item.hasAttribute("aria-expanded")) item.setAttribute("aria-expanded", String(!shut));
}
