"use strict";
// Draws the report from the data in the page (model.py). Nothing is fetched, nothing but the theme is stored.
(() => {
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

  // --- head and numbers ------------------------------------------------------------------------------------

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
    if (lost) show(lost, "uevents lost, made good", true);
  }

  // --- timeline --------------------------------------------------------------------------------------------

  const LABEL = () => parseFloat(getComputedStyle(document.documentElement).getPropertyValue("--label"));
  const chart = $("chart"), overview = $("overview");
  const hidden = new Set();
  let episode = data.episodes[0], zoom = 1, order = "start", rows = [], query = "";

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

  function drawTimeline() {
    const loads = data.loads.filter((load) => inEpisode(load) && !hidden.has(load.kind)).sort(orders[order]);
    const body = document.createDocumentFragment();
    rows = loads.map((load) => {
      const needed = load.causes.length > 0 && !load.causes[0].devpath;
      const row = el("div", { class: `row${needed ? " needed" : ""}`, tabindex: "-1", role: "button", "data-module": load.module,
        "aria-label": `${load.module}, ${load.outcome}, ${load.own >= 0 ? span(load.own) : ""}`, style: kindStyle(load.kind) },
        el("div", { class: "label" }, el("i", { class: "dot" }), load.module), bar(load));
      body.append(row);
      return row;
    });
    const ticks = el("div", { class: "ticks", id: "ticks" });
    chart.replaceChildren(el("div", { class: "scale" }, el("div", { class: "corner" }, "seconds since boot"), ticks), body);
    if (!rows.length) chart.append(el("p", { class: "empty" }, "No module was loaded in this time."));
    if (rows.length) rows[0].tabIndex = 0;
    drawOverview(loads);
    setZoom(zoom, 0);
    applySearch();
  }

  /** How many modules were being loaded at each moment, as an area; the frame is what the chart shows. */
  function drawOverview(loads) {
    const steps = [];
    for (const load of loads) if (load.start >= 0) steps.push([load.start, 1], [Math.max(load.end, load.start + 1), -1]);
    steps.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
    let now = 0, top = 1, path = "M0,100";
    for (let pass = 0; pass < 2; pass += 1) {
      now = 0;
      for (const [at, step] of steps) {
        const x = Math.min(1000, Math.max(0, share(at) * 10));
        if (pass) path += `L${x.toFixed(2)},${(100 - (92 * now) / top).toFixed(1)}`;
        now += step;
        if (pass) path += `L${x.toFixed(2)},${(100 - (92 * now) / top).toFixed(1)}`;
        else top = Math.max(top, now);
      }
    }
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
    const row = rows.find((one) => !one.classList.contains("out") && find(one.dataset.module).end >= from);
    if (row) chart.scrollTop = row.offsetTop - 26;
  }

  /** Ticks at round times, only where they can be seen. */
  function drawScale() {
    const ticks = $("ticks");
    if (!ticks) return;
    const wanted = (length() / track()) * 110;
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
    drawTimeline();
  }
  for (const one of data.episodes) {
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

  // --- device tree -----------------------------------------------------------------------------------------

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
        device.idle_drivers.length ? el("span", { class: "bad" }, `unbound: ${device.idle_drivers.join(", ")} did not take it`) : "",
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

  // --- side ------------------------------------------------------------------------------------------------

  /** Why a module was loaded, in a few words. */
  function because(load) {
    const cause = load.causes[0];
    if (!cause) return "";
    const more = load.causes.length > 1 ? ` and ${load.causes.length - 1} more` : "";
    if (cause.devpath) return `for ${cause.subsystem || "device"} ${cause.devpath.split("/").pop()}${more}`;
    if (cause.module) return `${cause.module} needs it${more}`;
    if (cause.softdep) return `softdep of ${cause.softdep}${more}`;
    return `asked for by ${cause.request}${more}`;
  }
  const longest = Math.max(1, ...data.slowest.map((module) => find(module).own));
  for (const module of data.slowest) {
    const load = find(module);
    $("slowest").append(el("li", { "data-module": module, tabindex: "0", style: kindStyle(load.kind) },
      el("i", { class: "bar", style: { width: `calc((100% - 16px) * ${load.own / longest})` } }),
      el("span", { class: "mono" }, module), el("span", { class: "why" }, because(load)), el("b", {}, span(load.own))));
  }
  if (data.failures.length) {
    $("failures-card").hidden = false;
    for (const one of data.failures) {
      $("failures").append(el("div", { class: "failure" }, el("b", { class: "mono" }, one.what), ` ${one.outcome}`,
        ...one.why.map((text) => el("p", {}, text)), one.mend && el("p", { class: "mend" }, "To mend it: ", el("code", {}, one.mend))));
    }
  }
  if (data.unused) {
    const { carried, modules } = data.unused, total = modules.reduce((sum, row) => sum + row.size, 0);
    $("unused-card").hidden = false;
    $("unused").append(el("p", { class: "bignote" }, el("b", {}, `${modules.length} of ${carried} modules`), `, ${bytes(total)} unpacked, were not needed on this machine.`));
    const list = el("ul", { class: "unused-list" }, ...modules.map((row) =>
      el("li", { title: row.path }, el("span", {}, row.module), el("span", {}, bytes(row.size)))));
    $("unused").append(el("details", {}, el("summary", {}, "Show them, the largest first"), list));
  }

  // --- linked highlights, tips, details --------------------------------------------------------------------

  function link(modules, devices) {
    for (const node of document.querySelectorAll(".linked")) node.classList.remove("linked");
    for (const module of modules) {
      for (const node of document.querySelectorAll(`[data-module="${CSS.escape(module)}"]`)) node.classList.add("linked");
    }
    for (const index of devices) items[index]?.firstElementChild.classList.add("linked");
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
      el("div", { class: "soft2" }, because(load)),
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
  const indexOf = (path) => data.devices.findIndex((device) => device.path === path);
  const list = (title, entries) => (entries.length ? [el("h4", {}, title), el("ul", {}, ...entries.map((entry) => el("li", {}, ...[entry].flat())))] : []);
  const facts = (...pairs) => el("dl", {}, ...pairs.filter(([, value]) => value !== "" && value != null).flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
  function open(...content) {
    $("detail-body").replaceChildren(...content.flat());
    $("detail").hidden = false;
    $("detail").scrollTop = 0;
  }
  function mark(selector) {
    for (const node of document.querySelectorAll(".chosen")) node.classList.remove("chosen");
    for (const node of document.querySelectorAll(selector)) node.classList.add("chosen");
    return document.querySelector(selector);
  }
  function reveal(node) {
    if (!node) return;
    for (let item = node.closest("li"); item; item = item.parentElement.closest("li")) if (item !== node.parentElement) fold(item, false);
    node.scrollIntoView({ block: "nearest", inline: "nearest" });
  }
  function showModule(module, scroll = false) {
    const load = find(module), own = data.appearances.filter((one) => one.module === module && one.came);
    const row = mark(`.row[data-module="${CSS.escape(module)}"]`);
    if (scroll) reveal(row);
    if (!load) {
      open(el("h3", {}, module), el("p", { class: "soft" }, own.length ? `came by itself at ${moment(own[0].at)}: the kernel asked for it` : "was not loaded"));
      return;
    }
    const causes = load.causes.map((cause) => {
      if (!cause.devpath) return cause.module ? [moduleLink(cause.module), " needs it"] : cause.softdep ? [moduleLink(cause.softdep), " names it in a softdep"] : [`asked for by ${cause.request}`];
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
  function showDevice(index, scroll = false) {
    const device = data.devices[index];
    const node = mark(`.node[data-device="${index}"]`);
    if (scroll) { if (!device.tells) { $("all-devices").checked = true; $("tree").classList.add("all"); } reveal(node); }
    const matches = device.matches.map((match) => {
      const load = find(match.module);
      const state = match.builtin ? "built into the kernel" : load ? (load.own >= 0 ? `${load.outcome}, ${span(load.own)}` : load.outcome) : "no load written";
      return [match.builtin ? match.module : moduleLink(match.module), ` ${state}`, el("div", {}, el("code", {}, match.alias)),
        el("span", { class: "faint" }, match.place)];
    });
    open(el("h3", {}, device.node || device.name), el("p", { class: "mono soft" }, device.path),
      facts(["subsystem", device.subsystem], ["kind", device.kind], ["seen", moment(device.seen)],
        ["driver", device.driver ? (device.driver_module ? el("span", {}, `${device.driver}, from `, moduleLink(device.driver_module)) : device.driver) : "none"],
        ["bound", device.bound >= 0 ? `${moment(device.bound)}, ${span(device.bound - device.seen)} after it was seen` : ""],
        ["gone", device.gone >= 0 ? moment(device.gone) : ""], ["hangs on", device.parent >= 0 ? deviceLink(device.parent) : ""],
        ["modalias", device.modalias ? el("code", {}, device.modalias) : "none: it asks for no module"]),
      ...list("Matched", matches),
      device.modalias && !matches.length ? el("p", { class: "soft" }, "No alias in this image matches it.") : "");
  }
  function close() { $("detail").hidden = true; mark("#nothing"); }
  $("detail-close").onclick = close;
  document.addEventListener("click", (event) => {
    const at = event.target;
    if (at.closest(".detail, .top, dialog")) return;
    if (at.closest(".fold")) { const item = at.closest("li"); fold(item, item.getAttribute("aria-expanded") === "true"); return; }
    const module = at.closest("[data-module]")?.dataset.module;
    if (module) { showModule(module, !at.closest(".row") && innerWidth > 1080); return; }
    const device = at.closest("[data-device]")?.dataset.device;
    if (device !== undefined) showDevice(Number(device));
  });

  // --- search ----------------------------------------------------------------------------------------------

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

  // --- theme and keys --------------------------------------------------------------------------------------

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

  const visible = (nodes) => [...nodes].filter((node) => node.offsetParent !== null);
  function step(by) {
    const inTree = document.activeElement?.closest(".tree");
    const nodes = visible(inTree ? $("tree").querySelectorAll(".node") : rows);
    if (!nodes.length) return;
    const at = nodes.indexOf(document.activeElement);
    const next = nodes[Math.min(nodes.length - 1, Math.max(0, at < 0 ? 0 : at + by))];
    for (const node of nodes) node.tabIndex = -1;
    next.tabIndex = 0;
    next.focus({ preventScroll: true });
    next.scrollIntoView({ block: "nearest" });
    linkFrom(next);
    if (!$("detail").hidden) activate(next);
  }
  function activate(node) {
    if (node.dataset.module) showModule(node.dataset.module);
    else if (node.dataset.device) showDevice(Number(node.dataset.device));
  }
  function sideways(right) {
    const item = document.activeElement?.closest(".tree li");
    if (item) fold(item, !right);
    else { chart.scrollLeft += (right ? 1 : -1) * room() * 0.25; follow(); }
  }
  const keys = {
    "/": () => $("search").focus(), j: () => step(1), ArrowDown: () => step(1), k: () => step(-1), ArrowUp: () => step(-1),
    ArrowRight: () => sideways(true), ArrowLeft: () => sideways(false), "+": () => setZoom(zoom * 1.6, anchor()), "=": () => setZoom(zoom * 1.6, anchor()),
    "-": () => setZoom(zoom / 1.6, anchor()), 0: () => setZoom(1), t: turn, "?": () => $("help").showModal(),
    d: () => { const nodes = visible($("tree").querySelectorAll(".node")); nodes[0]?.focus(); $("devices").scrollIntoView(); },
    m: () => { visible(rows)[0]?.focus({ preventScroll: true }); $("timeline").scrollIntoView(); },
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

  setTheme();
  choose(episode);
  // the tree stands below the fold: the rest is painted first
  requestAnimationFrame(() => setTimeout(() => {
    drawTree();
    document.documentElement.dataset.ready = "";
  }));
})();
