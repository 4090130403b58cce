// What all parts of the page's script share: the data, elements, spans of time. The parts are joined in the order of
// html.py and run as one function. Nothing is fetched, nothing but the theme is stored.

const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const KINDS = ["storage", "network", "usb", "input", "sound", "graphics", "cpu", "other"];
const loadOf = new Map(data.loads.map((load) => [load.module.replaceAll("-", "_"), load]));
const find = (module) => loadOf.get(module.replaceAll("-", "_"));
const succeeded = (load) => load.succeeded;

/** An element with attributes (`on…` are listeners, `style` an object) and children; text is never markup. */
function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, text] of Object.entries(value)) node.style.setProperty(key, text);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child != null && child !== ""));
  return node;
}
const kindStyle = (kind) => ({ "--kind": `var(--${kind})` });

/** Give a line or a chip the marks that hold for it now: lit up with others, chosen, found. */
function dress(node) {
  const { module, device } = node.dataset, index = Number(device);
  node.classList.toggle("linked", device !== undefined ? linked.devices.has(index) : linked.modules.has(module));
  if (node.matches(".row")) node.classList.toggle("chosen", chosen.module === module);
  if (device === undefined) return node;
  node.classList.toggle("chosen", chosen.device === index);
  node.classList.toggle("hit", found.has(index));
  for (const inner of node.children) if (inner.dataset.module) dress(inner);
  return node;
}

/** A span of microseconds for people. */
function span(us) {
  if (us < 0) return "?";
  if (us < 9950) return `${(us / 1000).toFixed(1)} ms`;
  if (us < 999500) return `${Math.round(us / 1000)} ms`;
  return `${(us / 1e6).toFixed(2)} s`;
}
/** A moment, in seconds since the machine's boot. */
const moment = (us) => (us < 0 ? "?" : `${(us / 1e6).toFixed(3)} s`);
const bytes = (n) => (n < 1048576 ? `${Math.round(n / 1024)} KiB` : `${(n / 1048576).toFixed(1)} MiB`);
const plural = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;
