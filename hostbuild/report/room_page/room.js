const map = document.getElementById("map");
const frame = document.getElementById("frame");
const told = document.getElementById("told");
const boxes = [...map.querySelectorAll("rect")];
const depths = boxes.map((box) => Number(box.dataset.d));
let here = -1;
const mark = document.getElementById("mark"); // on top of all: what lies inside would cover a box's own frame

const show = (number) => {
  if (number < 0) return;
  here = number;
  const [x, y, width, height] = ["x", "y", "width", "height"].map((name) => boxes[here].getAttribute(name));
  mark.setAttribute("d", `M${x} ${y}h${width}v${height}h-${width}z`);
  told.textContent = boxes[here].querySelector("title").textContent;
  told.className = "exact";
};

// The boxes stand in the order of a walk: what holds others comes before what is inside.
const sibling = (step) => {
  for (let at = here + step; at >= 0 && at < boxes.length && depths[at] >= depths[here]; at += step) {
    if (depths[at] === depths[here]) return at;
  }
  return here;
};
const outside = () => {
  for (let at = here - 1; at >= 0; at -= 1) if (depths[at] < depths[here]) return at;
  return here;
};
const inside = () => (depths[here + 1] > depths[here] ? here + 1 : here);
const ways = { ArrowRight: () => sibling(1), ArrowLeft: () => sibling(-1), ArrowUp: outside, ArrowDown: inside };

map.addEventListener("pointermove", (event) => {
  const number = boxes.indexOf(event.target);
  if (number >= 0 && number !== here) show(number);
});
frame.addEventListener("keydown", (event) => {
  if (!(event.key in ways) || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  show(here < 0 ? 0 : ways[event.key]());
});

const root = document.documentElement;
const dark = matchMedia("(prefers-color-scheme: dark)");
const turn = () => {
  const now = root.dataset.theme || (dark.matches ? "dark" : "light");
  root.dataset.theme = now === "dark" ? "light" : "dark";
};
document.getElementById("theme").addEventListener("click", turn);
document.addEventListener("keydown", (event) => {
  if (event.key === "t" && !event.ctrlKey && !event.altKey && !event.metaKey) turn();
});
