// A long list, of which only what is in view is drawn: a ledger of a machine that has run for months has 100,000 devices,
// and a browser needs half a minute to make so many elements anew.

const SHORT = 400;  // rows that are all drawn: the browser's own search finds them, and they can be printed
const BESIDE = 12;  // rows drawn above and below those in view

class List {
  /** `box` scrolls, `body` in it gets the rows, each `height` pixels high once there are many, made by `make(entry)`. */
  constructor(box, body, height, make) {
    Object.assign(this, { box, body, height, make, entries: [], from: 0, to: 0, at: 0 });
    box.addEventListener("scroll", () => this.draw(), { passive: true });
    new ResizeObserver(() => this.draw()).observe(box);
  }
  get long() { return this.entries.length > SHORT; }
  /** The rows that are drawn, in order. */
  get rows() { return [...this.body.children]; }
  row(index) { return index >= this.from && index < this.to ? this.body.children[index - this.from] : null; }
  indexOf(row) { const at = this.rows.indexOf(row); return at < 0 ? -1 : this.from + at; }

  /** Show other entries. `at` is which of them the keyboard goes on from. */
  show(entries) {
    this.entries = entries;
    this.at = Math.min(this.at, Math.max(0, entries.length - 1));
    this.box.classList.toggle("long", this.long);
    this.draw(true);
  }
  draw(anew = false) {
    const count = this.entries.length;
    let from = 0, to = count;
    if (this.long) {
      const above = Math.max(0, this.box.scrollTop - this.body.offsetTop);
      from = Math.max(0, Math.min(Math.floor(above / this.height), count - 1) - BESIDE);
      to = Math.min(count, from + Math.ceil((this.box.clientHeight || 600) / this.height) + 2 * BESIDE);
    }
    if (!anew && from === this.from && to === this.to) return;
    const focused = this.body.contains(document.activeElement);
    const kept = anew ? [] : this.rows, before = this.from;
    const rows = [];
    for (let index = from; index < to; index += 1) {
      const row = kept[index - before] ?? this.make(this.entries[index], index);
      row.tabIndex = index === this.at ? 0 : -1;
      rows.push(row);
    }
    [this.from, this.to] = [from, to];
    this.body.replaceChildren(...rows);
    this.body.style.paddingTop = `${from * (this.long ? this.height : 0)}px`;
    this.body.style.paddingBottom = `${(count - to) * (this.long ? this.height : 0)}px`;
    if (focused) this.row(this.at)?.focus({ preventScroll: true });
  }
  /** Bring an entry into view; gives its row. */
  reveal(index) {
    if (this.long) {
      const top = this.body.offsetTop + index * this.height, head = this.body.offsetTop;
      if (top < this.box.scrollTop + head) this.box.scrollTop = top - head;
      else if (top + this.height > this.box.scrollTop + this.box.clientHeight) {
        this.box.scrollTop = top + this.height - this.box.clientHeight;
      }
      this.draw();
    }
    const row = this.row(index);
    row?.scrollIntoView({ block: "nearest", inline: "nearest" });
    return row;
  }
  /** Give an entry the keyboard's focus. */
  focus(index) {
    if (!this.entries.length) return null;
    const row = this.row(this.at);
    if (row) row.tabIndex = -1;
    this.at = Math.min(this.entries.length - 1, Math.max(0, index));
    const next = this.reveal(this.at);
    if (next) next.tabIndex = 0;
    next?.focus({ preventScroll: true });
    return next;
  }
}
