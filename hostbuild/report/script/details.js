// What belongs together is highlighted, tips follow the pointer, a click shows all of a module or a device.

let linked = { modules: new Set(), devices: new Set() }, chosen = {};
function dressAll() {
  for (const node of document.querySelectorAll("[data-module], [data-device]")) dress(node);
}
function link(modules, devices) {
  if (!modules.length && !devices.length && !linked.modules.size && !linked.devices.size) return;
  linked = { modules: new Set(modules), devices: new Set(devices.map(Number)) };
  dressAll();
}
function linkFrom(node) {
  const module = node?.closest("[data-module]")?.dataset.module;
  const device = node?.closest("[data-device]")?.dataset.device;
  if (module) {
    const load = find(module);
    link([module], load ? [...load.askers, ...load.drives] : []);
  } else if (device !== undefined) {
    const row = data.devices[device];
    link([...row.matches.map((match) => match.module), row.driver_module].filter(Boolean), [device]);
  } else link([], []);
}
const tip = $("tip");
const pair = (name, value) => el("div", { class: "row2" }, el("span", { class: "soft2" }, name), el("span", {}, value));
function tipFor(node) {
  const row = node?.closest(".row, .slowest li");
  const load = row && find(row.dataset.module);
  if (!load) { tip.hidden = true; return false; }
  tip.replaceChildren(el("b", {}, load.module), " ", succeeded(load) ? "" : load.outcome,
    el("div", { class: "soft2" }, load.because),
    load.queued >= 0 ? pair("queued", moment(load.queued)) : "",
    load.start >= 0 ? pair("waited", span(load.start - Math.max(load.queued, 0))) : "",
    load.own >= 0 ? pair("loading", span(load.own)) : "",
    load.brought.length ? pair("brought", plural(load.brought.length, "module")) : "",
    load.drives.length ? pair("drives", plural(load.drives.length, "device")) : "",
    load.message ? el("div", {}, load.message) : "");
  tip.hidden = false;
  return true;
}
document.addEventListener("pointerover", (event) => {
  if (event.pointerType === "touch") return;
  linkFrom(event.target);
  tipFor(event.target);
});
document.addEventListener("pointermove", (event) => {
  if (tip.hidden) return;
  const { width, height } = tip.getBoundingClientRect();
  const left = event.clientX + 16 + width > innerWidth ? event.clientX - width - 12 : event.clientX + 16;
  tip.style.left = `${Math.max(6, left)}px`;
  tip.style.top = `${Math.min(innerHeight - height - 6, event.clientY + 14)}px`;
});

const moduleLink = (module) => el("button", { class: "link", type: "button", onclick: () => showModule(module, true) }, module);
const deviceLink = (index) => el("button", { class: "link", type: "button", onclick: () => showDevice(index, true) },
  `${data.devices[index].subsystem || "device"} ${data.devices[index].name}${data.devices[index].node ? ` (${data.devices[index].node})` : ""}`);
const list = (title, entries) => (entries.length ? [el("h4", {}, title), el("ul", {}, ...entries.map((entry) => el("li", {}, ...[entry].flat())))] : []);
const facts = (...pairs) => el("dl", {}, ...pairs.filter(([, value]) => value !== "" && value != null).flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
function open(...content) {
  $("detail-body").replaceChildren(...content.flat());
  $("detail").hidden = false;
  $("detail").scrollTop = 0;
}
function mark(which) {
  chosen = which;
  dressAll();
}
function showModule(module, scroll = false) {
  const load = find(module), own = data.appearances.filter((one) => one.module === module && one.came);
  mark({ module });
  const at = scroll ? timeline.entries.findIndex((one) => one.module === module) : -1;
  if (at >= 0) timeline.reveal(at);
  if (!load) {
    open(el("h3", {}, module), el("p", { class: "soft" }, own.length ? `came by itself at ${moment(own[0].at)}: the kernel asked for it` : "was not loaded"));
    return;
  }
  const causes = load.causes.map((cause) => {
    const other = cause.module || cause.softdep;
    if (other) return [moduleLink(other), cause.text.slice(other.length)];  // the text begins with the module's name
    if (!cause.devpath) return [cause.text];
    const index = indexOf(cause.devpath);
    return [index >= 0 ? deviceLink(index) : cause.devpath, el("div", {}, el("code", {}, cause.alias)), el("span", { class: "faint" }, cause.place ?? "")];
  });
  open(el("h3", {}, load.module),
    el("p", { class: succeeded(load) ? "soft" : "bad" }, load.outcome + (load.message ? `: ${load.message}` : "")),
    facts(["kind", load.kind], ["queued", moment(load.queued)], ["started", load.start >= 0 ? `${moment(load.start)}, after ${span(load.start - load.queued)} of waiting` : ""],
      ["loading", load.own >= 0 ? span(load.own) : ""], ["modprobe ended", load.end >= 0 ? moment(load.end) : ""]),
    ...list("Why", causes), ...list("Needs", load.deps.length ? [load.deps.flatMap((name, at) => [at ? ", " : "", moduleLink(name)])] : []),
    ...list("Drives", load.drives.map(deviceLink)));
}
/** The compatibles of a device tree's node, most specific first, with those by which an alias matched it in bold. */
function compatibles(node) {
  if (!node?.compatible.length) return "";
  return el("span", {}, ...node.compatible.flatMap((one, at) => [at ? ", " : "", node.matched.includes(one)
    ? el("b", { title: "an alias matched this one" }, el("code", {}, one)) : el("code", {}, one)]));
}
function showDevice(index, scroll = false) {
  const device = data.devices[index];
  mark({ device: index });
  if (scroll) revealDevice(index);
  const matches = device.matches.map((match) => {
    const load = find(match.module);
    const state = match.builtin ? "built into the kernel" : load ? (load.own >= 0 ? `${load.outcome}, ${span(load.own)}` : load.outcome) : "its load is not in the ledger";
    return [match.builtin ? match.module : moduleLink(match.module), ` ${state}`, el("div", {}, el("code", {}, match.alias)),
      el("span", { class: "faint" }, match.place)];
  });
  open(el("h3", {}, device.node || device.name), el("p", { class: "mono soft" }, device.path),
    facts(["subsystem", device.subsystem], ["kind", device.kind], ["seen", moment(device.seen)],
      ["driver", device.driver ? (device.driver_module ? el("span", {}, `${device.driver}, from `, moduleLink(device.driver_module)) : device.driver) : device.former ? `none; ${device.former} had it` : "none"],
      ["bound", device.bound >= 0 ? `${moment(device.bound)}, ${span(device.bound - device.seen)} after it was seen` : ""],
      ["gone", device.gone >= 0 ? moment(device.gone) : ""], ["hangs on", device.parent >= 0 ? deviceLink(device.parent) : ""],
      ["device tree node", device.device_tree?.node ? el("code", {}, device.device_tree.node) : ""],
      ["compatible", compatibles(device.device_tree)],
      ["modalias", device.modalias ? el("code", {}, device.modalias) : "none: it asks for no module"]),
    ...list("Matched", matches),
    device.modalias && !matches.length ? el("p", { class: "soft" }, "No alias in this image matches it.") : "");
}
function close() { $("detail").hidden = true; mark({}); }
$("detail-close").onclick = close;
document.addEventListener("click", (event) => {
  const at = event.target;
  if (at.closest(".detail, .top, dialog")) return;
  if (at.closest(".fold")) { const index = Number(at.closest("li").dataset.device); fold(index, !shut.has(index)); return; }
  const module = at.closest("[data-module]")?.dataset.module;
  if (module) { showModule(module, !at.closest(".row") && innerWidth > 1080); return; }
  const device = at.closest("[data-device]")?.dataset.device;
  if (device !== undefined) showDevice(Number(device));
});
