// Beside the timeline: the slowest loads, failures with what mends them, modules that were never used.

const longest = Math.max(1, ...data.slowest.map((module) => find(module).own));
for (const module of data.slowest) {
  const load = find(module);
  $("slowest").append(el("li", { "data-module": module, tabindex: "0", style: kindStyle(load.kind) },
    el("i", { class: "bar", style: { width: `calc((100% - 16px) * ${load.own / longest})` } }),
    el("span", { class: "mono" }, module), el("span", { class: "why" }, load.because), el("b", {}, span(load.own))));
}
if (data.failures.length) {
  $("failures-card").hidden = false;
  const AT_ONCE = 100;
  const more = el("button", { type: "button", onclick: () => showFailures() });
  const showFailures = () => {
    const shown = $("failures").querySelectorAll(".failure").length;
    for (const one of data.failures.slice(shown, shown + AT_ONCE)) {
      $("failures").append(el("div", { class: "failure" }, el("b", { class: "mono" }, one.what), ` ${one.outcome}`,
        ...one.why.map((text) => el("p", {}, text)), one.fix && el("p", { class: "fix" }, "Fix: ", el("code", {}, one.fix))));
    }
    const left = data.failures.length - shown - AT_ONCE;
    more.textContent = `${Math.min(left, AT_ONCE)} more of ${left}`;
    if (left > 0) $("failures").append(more); else more.remove();
  };
  showFailures();
}
if (data.unused) {
  const { carried, modules } = data.unused, total = modules.reduce((sum, row) => sum + row.size, 0);
  $("unused-card").hidden = false;
  $("unused").append(el("p", { class: "bignote" }, el("b", {}, `${modules.length} of ${carried} modules`), `, ${bytes(total)} unpacked, were not needed on this machine.`));
  const list = el("ul", { class: "unused-list" }, ...modules.map((row) =>
    el("li", { title: row.path }, el("span", {}, row.module), el("span", {}, bytes(row.size)))));
  $("unused").append(el("details", {}, el("summary", {}, "Show them, the largest first"), list));
}
