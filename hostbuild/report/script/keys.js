// Dark and light, and the keyboard.

const wishes = matchMedia("(prefers-color-scheme: dark)");
let theme = null;
try { theme = localStorage.getItem("modaliasd-theme"); } catch { /* a page from a file may have no storage */ }
const setTheme = () => { document.documentElement.dataset.theme = theme ?? (wishes.matches ? "dark" : "light"); };
wishes.addEventListener("change", setTheme);
function turn() {
  theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  try { localStorage.setItem("modaliasd-theme", theme); } catch { /* then it holds for this page only */ }
  setTheme();
}
$("theme").onclick = turn;
$("help-open").onclick = () => $("help").showModal();

function step(by) {
  const shown = document.activeElement?.closest(".tree") ? tree : timeline;
  const at = shown.indexOf(document.activeElement);
  const next = shown.focus(at < 0 ? 0 : at + by);
  if (!next) return;
  linkFrom(next);
  if (!$("detail").hidden) activate(next);
}
function activate(node) {
  if (node.dataset.module) showModule(node.dataset.module);
  else if (node.dataset.device) showDevice(Number(node.dataset.device));
}
function sideways(right) {
  const item = document.activeElement?.closest(".tree li");
  if (item) fold(Number(item.dataset.device), !right);
  else { chart.scrollLeft += (right ? 1 : -1) * room() * 0.25; follow(); }
}
const keys = {
  "/": () => $("search").focus(), j: () => step(1), ArrowDown: () => step(1), k: () => step(-1), ArrowUp: () => step(-1),
  ArrowRight: () => sideways(true), ArrowLeft: () => sideways(false), "+": () => setZoom(zoom * 1.6, anchor()), "=": () => setZoom(zoom * 1.6, anchor()),
  "-": () => setZoom(zoom / 1.6, anchor()), 0: () => setZoom(1), t: turn, "?": () => $("help").showModal(),
  d: () => { tree.focus(0); $("devices").scrollIntoView(); },
  m: () => { timeline.focus(0); $("timeline").scrollIntoView(); },
  Enter: () => activate(document.activeElement), " ": () => activate(document.activeElement),
};
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    if (event.target === $("search")) { $("search").value = query = ""; applySearch(); $("search").blur(); } else close();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, dialog")) return;
  if (["Enter", " "].includes(event.key) && !event.target.matches(".row, .node, [data-module]")) return;
  const act = keys[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});
