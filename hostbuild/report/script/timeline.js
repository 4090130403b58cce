// The timeline: a row a module, zoomed and scrolled, above it an overview of all; episodes, kinds, orders.

const LABEL = () => parseFloat(getComputedStyle(document.documentElement).getPropertyValue("--label"));
const chart = $("chart"), overview = $("overview");
const hidden = new Set();
const timeline = new List(chart, el("div", { class: "rows" }), 22, makeRow);
let episode = data.episodes[0], zoom = 1, order = "start", inTime = [], query = "";

const moments = (load) => [load.queued, load.start, load.end].filter((at) => at >= 0);
function inEpisode(load) {
  const at = moments(load);
  return at.length > 0 && Math.min(...at) <= episode.to && Math.max(...at) >= episode.from;
}
const began = (load) => (load.start >= 0 ? load.start : load.end >= 0 ? load.end : load.queued);
const orders = {
  start: (a, b) => began(a) - began(b),
  own: (a, b) => b.own - a.own || began(a) - began(b),
  kind: (a, b) => KINDS.indexOf(a.kind) - KINDS.indexOf(b.kind) || began(a) - began(b),
  name: (a, b) => a.module.localeCompare(b.module),
};
const length = () => Math.max(1, episode.to - episode.from);
const share = (us) => (100 * (us - episode.from)) / length();

/** A piece of a bar from one moment to another, cut to the episode. */
function piece(name, from, to) {
  const left = Math.max(0, share(from)), right = Math.min(100, share(to));
  if (from < 0 || to < from || right < 0 || left > 100) return null;
  return el("i", { class: name, style: { left: `${left}%`, width: `${Math.max(0, right - left)}%` } });
}

function bar(load) {
  const track = el("div", { class: "track" });
  const waitTo = load.start >= 0 ? load.start : load.end;
  const add = (...pieces) => track.append(...pieces.filter(Boolean));
  add(piece("b-seen", load.seen, load.queued), piece("b-wait", load.queued, waitTo));
  if (load.start >= 0) {
    const own = load.own >= 0 ? load.start + load.own : load.end;
    add(piece("b-rest", own, load.end), piece("b-load", load.start, own));
  }
  for (const at of load.drives.map((index) => data.devices[index].bound)) {
    if (at >= episode.from && at <= episode.to) add(el("i", { class: "b-bound", style: { left: `${share(at)}%` } }));
  }
  if (!succeeded(load)) add(el("i", { class: "b-bad", style: { left: `${Math.min(100, share(Math.max(load.end, episode.from)))}%` } }));
  else if (load.start < 0) add(piece("b-load", load.end, load.end));
  return track;
}

function makeRow(load) {
  const needed = load.causes.length > 0 && !load.causes[0].devpath;
  return dress(el("div", { class: `row${needed ? " needed" : ""}`, role: "button", "data-module": load.module,
    "aria-label": `${load.module}, ${load.outcome}, ${load.own >= 0 ? span(load.own) : ""}`, style: kindStyle(load.kind) },
    el("div", { class: "label" }, el("i", { class: "dot" }), load.module), bar(load)));
}

function drawTimeline() {
  inTime = data.loads.filter((load) => inEpisode(load) && !hidden.has(load.kind)).sort(orders[order]);
  const ticks = el("div", { class: "ticks", id: "ticks" });
  chart.replaceChildren(el("div", { class: "scale" }, el("div", { class: "corner" }, "s since boot"), ticks), timeline.body,
    el("p", { class: "empty", hidden: inTime.length > 0 }, "No module was loaded in this time."));
  timeline.at = 0;
  drawOverview(inTime);
  setZoom(zoom, 0);
  applySearch();
}

/** How many modules were being loaded at each moment, as an area; the frame is what the chart shows. */
function drawOverview(loads) {
  const steps = [];
  for (const load of loads) if (load.start >= 0) steps.push([load.start, 1], [Math.max(load.end, load.start + 1), -1]);
  steps.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  const most = new Array(2001).fill(0);  // at so many places, the most at a time
  let now = 0, last = 0;
  for (const [at, step] of steps) {
    const place = Math.round(Math.min(100, Math.max(0, share(at))) * 20);
    for (let between = last + 1; between <= place; between += 1) most[between] = Math.max(most[between], now);
    now += step;
    most[place] = Math.max(most[place], now);
    last = place;
  }
  const top = Math.max(1, ...most);
  const path = `M0,100${most.map((count, at) => `L${at / 2},${(100 - (92 * count) / top).toFixed(1)}`).join("")}`;
  const ns = "http://www.w3.org/2000/svg", svg = document.createElementNS(ns, "svg"), area = document.createElementNS(ns, "path");
  svg.setAttribute("viewBox", "0 0 1000 100");
  svg.setAttribute("preserveAspectRatio", "none");
  area.setAttribute("d", `${path}L1000,100Z`);
  svg.append(area);
  overview.replaceChildren(svg, el("div", { class: "window", id: "window" }));
}

const room = () => Math.max(120, chart.clientWidth - LABEL());
const track = () => room() * zoom;

/** Zoom to `factor` times the episode; the moment at `x` pixels from the track's visible left stays there. */
function setZoom(factor, x = room() / 2) {
  const at = (chart.scrollLeft + x) / track();
  zoom = Math.min(4000, Math.max(1, factor));
  chart.style.setProperty("--track", `${track()}px`);
  chart.scrollLeft = at * track() - x;
  drawScale();
}

function zoomTo(from, to) {
  const width = Math.max(200, (to - from) * 1.15);
  zoom = Math.min(4000, Math.max(1, length() / width));
  chart.style.setProperty("--track", `${track()}px`);
  chart.scrollLeft = ((from - episode.from - width * 0.06) / length()) * track();
  follow();
  drawScale();
}

/** Where a zoom without a pointer stays put: at the start of the focused or chosen module, if it can be seen. */
function anchor() {
  const row = document.activeElement?.closest(".row") ?? chart.querySelector(".row.chosen");
  const load = row && find(row.dataset.module);
  const x = load && load.start >= 0 ? (share(load.start) / 100) * track() - chart.scrollLeft : -1;
  return x >= 0 && x <= room() ? x : room() / 2;
}

/** In the order of start, bring the rows into view that begin where the chart stands. */
function follow() {
  if (order !== "start" || zoom <= 1) return;
  const from = episode.from + (chart.scrollLeft / track()) * length();
  const at = timeline.entries.findIndex((load) => load.end >= from);
  if (at >= 0) chart.scrollTop = at * timeline.height;
}

/** Ticks at round times, only where they can be seen. */
function drawScale() {
  const ticks = $("ticks");
  if (!ticks) return;
  const wanted = (length() / track()) * (room() < 500 ? 60 : 110);  // pixels from tick to tick, at least
  const power = 10 ** Math.floor(Math.log10(wanted));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= wanted);
  const digits = Math.max(0, Math.min(6, -Math.floor(Math.log10(step / 1e6) + 1e-9)));
  const from = episode.from + (chart.scrollLeft / track()) * length() - step;
  const to = from + (room() / track()) * length() + 2 * step;
  const nodes = [];
  for (let at = Math.ceil(Math.max(from, episode.from) / step) * step; at <= Math.min(to, episode.to); at += step) {
    nodes.push(el("span", { class: "tick", style: { left: `${share(at)}%` } }, (at / 1e6).toFixed(digits)));
  }
  ticks.replaceChildren(...nodes);
  const first = Math.ceil(episode.from / step) * step;
  chart.style.setProperty("--grid", `${(step / length()) * track()}px`);
  chart.style.setProperty("--grid-at", `${((first - episode.from) / length()) * track()}px`);
  const frame = $("window");
  frame.style.left = `${(100 * chart.scrollLeft) / track()}%`;
  frame.style.width = `${Math.min(100, (100 * room()) / track())}%`;
  frame.hidden = zoom <= 1;
}

let pending = false;
chart.addEventListener("scroll", () => {
  if (pending) return;
  pending = true;
  requestAnimationFrame(() => { pending = false; drawScale(); });
}, { passive: true });
chart.addEventListener("wheel", (event) => {
  if (!event.ctrlKey && !event.metaKey) return;
  event.preventDefault();
  setZoom(zoom * Math.exp(-event.deltaY * 0.004), Math.max(0, event.clientX - chart.getBoundingClientRect().left - LABEL()));
}, { passive: false });
chart.addEventListener("dblclick", (event) => {
  const row = event.target.closest(".row"), load = row && find(row.dataset.module);
  if (load && load.start >= 0) zoomTo(load.start, Math.max(load.end, load.start + 500));
});
new ResizeObserver(() => { chart.style.setProperty("--track", `${track()}px`); drawScale(); }).observe(chart);

/** Call `move` with the pointer's place in `box` (0…1) until the button is let go, then `done`. */
function dragging(event, box, move, done = () => {}) {
  const place = (e) => {
    const edges = box.getBoundingClientRect();
    return Math.min(1, Math.max(0, (e.clientX - edges.left) / edges.width));
  };
  const start = place(event), onMove = (e) => move(start, place(e));
  const onUp = (e) => { removeEventListener("pointermove", onMove); removeEventListener("pointerup", onUp); done(start, place(e)); };
  addEventListener("pointermove", onMove);
  addEventListener("pointerup", onUp);
  event.preventDefault();
  move(start, start);
}
overview.addEventListener("pointerdown", (event) =>
  dragging(event, overview, (_start, at) => { chart.scrollLeft = at * track() - room() / 2; follow(); }));
chart.addEventListener("pointerdown", (event) => {
  const ticks = event.target.closest(".ticks");
  if (!ticks || event.button !== 0) return;
  const shade = el("div", { class: "drag" });
  ticks.append(shade);
  dragging(event, ticks, (from, to) => {
    shade.style.left = `${100 * Math.min(from, to)}%`;
    shade.style.width = `${100 * Math.abs(to - from)}%`;
  }, (from, to) => {
    shade.remove();
    if (Math.abs(to - from) * track() > 6) {
      zoomTo(episode.from + Math.min(from, to) * length(), episode.from + Math.max(from, to) * length());
    }
  });
});
$("zoom-in").onclick = () => setZoom(zoom * 1.6, anchor());
$("zoom-out").onclick = () => setZoom(zoom / 1.6, anchor());
$("zoom-fit").onclick = () => setZoom(1);
$("order").onchange = (event) => { order = event.target.value; drawTimeline(); };

function choose(which) {
  episode = which;
  zoom = 1;
  for (const tab of $("episodes").children) tab.setAttribute("aria-selected", String(tab.dataset.from === String(which.from)));
  const later = data.episodes.indexOf(which) >= TABS;
  $("more-episodes").classList.toggle("chosen", later);
  if (!later) $("more-episodes").value = "";
  drawTimeline();
}
const TABS = 8;  // a machine that has run for months has had thousands of hotplugs: the others are in a menu
{
  const rest = data.episodes.slice(TABS), menu = $("more-episodes");
  menu.hidden = !rest.length;
  menu.append(el("option", { value: "" }, `${rest.length} more`),
    ...rest.map((one, at) => el("option", { value: at + TABS }, `${one.name}, at ${moment(one.from)}`)));
  menu.onchange = () => choose(data.episodes[menu.value || 0]);
}
for (const one of data.episodes.slice(0, TABS)) {
  $("episodes").append(el("button", { type: "button", role: "tab", "data-from": one.from, onclick: () => choose(one),
    title: `from ${moment(one.from)} to ${moment(one.to)}` }, el("span", {}, one.name), el("span", { class: "faint" }, ` ${span(one.to - one.from)}`)));
}
for (const kind of KINDS) {
  const count = data.loads.filter((load) => load.kind === kind).length;
  if (!count) continue;
  $("legend").append(el("button", { type: "button", "aria-pressed": "true", title: `Show or hide ${kind}`, style: kindStyle(kind),
    onclick: (event) => {
      const off = hidden.delete(kind) ? false : Boolean(hidden.add(kind));
      event.currentTarget.setAttribute("aria-pressed", String(!off));
      drawTimeline();
    } }, el("i", { class: "dot" }), kind, el("span", { class: "faint" }, String(count))));
}
