// The boot's phases before and up to the first settle, one bar; the kernel's slowest initcalls, if it was told to log them.

if (data.phases.length) {
  const end = Math.max(...data.phases.map((phase) => phase.to), 1), box = $("phases");
  box.hidden = false;
  box.setAttribute("aria-label", data.phases.map((phase) => `${phase.name}: ${span(phase.to - phase.from)}`).join(", "));
  for (const phase of data.phases) {
    const took = span(phase.to - phase.from), share = (us) => `${(100 * us) / end}%`;
    box.append(el("div", { class: `phase${phase.inside ? " inside" : ""}`, title: `${phase.name}: ${took}, from ${moment(phase.from)} to ${moment(phase.to)}`,
      style: { left: share(phase.from), width: share(phase.to - phase.from) } }, el("span", {}, `${phase.name} `, el("b", {}, took))));
  }
}
if (data.initcalls.length) {
  $("initcalls").hidden = false;
  $("initcalls").append(el("summary", {}, `The kernel's ${data.initcalls.length} slowest initcalls`),
    el("ol", {}, ...data.initcalls.map((call) => el("li", {}, el("span", { class: "mono" }, call.name), " ", el("b", {}, `${call.ms.toFixed(1)} ms`),
      el("span", { class: "faint" }, ` until ${moment(call.end_us)}`)))));
}
