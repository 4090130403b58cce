"""A boot as it happens: ledger records in, a screen for people out.

`Watch.hear` takes records; `Watch.screen` gives what is to be seen now, for rich's Live. `ChannelWatch`
draws that from the bytes of the ledger channel.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any, Self

from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from hostbuild.ledger.stream import LedgerReader
from modaliasd.core.ledger.history import SUCCESSFUL
from modaliasd.core.ledger.text import duration
from modaliasd.core.ledger.text_line import trimmed_text
from modaliasd.core.printable import printable

_SLOWEST = 6
_KNOWN_FAILURES = 5


class Watch:
    """What has been heard so far."""

    def __init__(self, rows: int = 14) -> None:
        self._rows: deque[Text] = deque(maxlen=rows)
        self._begin()

    def _begin(self) -> None:
        self.settled: Mapping[str, Any] = {}
        self.ended = False
        self._start: Mapping[str, Any] = {}
        self._last_us = 0
        self._devices: set[str] = set()
        self._matched: set[str] = set()
        self._bound: set[str] = set()
        self._waiting: dict[str, tuple[str, int]] = {}  # module -> (who asked for it, when)
        self._loads: dict[str, int] = {}  # module -> microseconds of its own insertion, 0 if it needed none
        self._latest: tuple[str, int, int] = ("", 0, -1)  # the last load's module, start_us, end_us
        self._failures: list[str] = []
        self._rows.clear()

    def hear(self, record: Mapping[str, Any]) -> None:
        """Take the next record. The start of another boot, whose time begins anew, is the end of what was before."""
        if record.get("type") == "start" and record.get("t_us", 0) < self._last_us:
            self._begin()
        self._last_us = max(self._last_us, record.get("t_us", 0))
        kind = record.get("type")
        if kind == "start":
            self._start = self._start or record
        elif kind == "device":
            self._device(record)
        elif kind == "load":
            self._load(record)
        elif kind == "module":
            self._waiting.pop(record.get("module", ""), None)
            self._row(record, f"{record.get('module', '')} came by itself", "dim")
        elif kind == "settled":
            self.settled = record
            self._row(record, f"settled, {record.get('ms', 0):.0f} ms after the daemon's start", "bold green")
        elif kind in {"lost", "dropped", "warning", "slow", "unbound"}:
            words = (
                record.get("message") or record.get("reason") or record.get("devpath") or record.get("module")
            )
            self._row(record, f"{kind}: {words}", "yellow")
        elif kind == "trimmed":
            self._row(record, trimmed_text(record), "dim")
        elif kind == "exit":
            self.ended = True

    def _device(self, record: Mapping[str, Any]) -> None:
        devpath, action = record.get("devpath", ""), record.get("action")
        if action == "remove":
            self._devices.discard(devpath)
            self._bound.discard(devpath)
            return
        self._devices.add(devpath)
        if record.get("driver") and action != "unbind":
            if action == "bind" and devpath not in self._bound:
                self._row(record, f"{_name(record)} taken by {record['driver']}", "green")
            self._bound.add(devpath)
        modules = [m["module"] for m in record.get("matches", ()) if not m.get("builtin")]
        if not modules:
            return
        self._settle_again()
        self._matched.add(devpath)
        for module in modules:
            if module not in self._loads:
                self._waiting.setdefault(module, (_name(record), record.get("t_us", 0)))
        self._row(record, f"{_name(record)} asks for {', '.join(dict.fromkeys(modules))}", "")

    def _settle_again(self) -> None:
        self.settled = {}

    def _load(self, record: Mapping[str, Any]) -> None:
        module, outcome = record.get("module", ""), record.get("outcome")
        self._waiting.pop(module, None)
        start_us, end_us = record.get("start_us", -1), record.get("end_us", -1)
        self._loads[module] = end_us - start_us if start_us >= 0 else 0
        before, before_start_us, before_end_us = self._latest
        if start_us >= 0 and end_us == before_end_us:  # of the same modprobe: the one before ended here
            self._loads[before] = max(0, start_us - before_start_us)
        if start_us >= 0:
            self._latest = (module, start_us, end_us)
        if outcome not in SUCCESSFUL:
            self._failures.append(printable(f"{module} {outcome}: {record.get('message', '')}"))
            self._row(record, f"{module} {outcome}", "red")

    def _row(self, record: Mapping[str, Any], words: str, style: str) -> None:
        stamp = (f"{record.get('t_us', 0) / 1e6:9.3f}  ", "dim")
        self._rows.append(Text.assemble(stamp, (printable(words), style), no_wrap=True, overflow="ellipsis"))

    def screen(self) -> RenderableType:
        """Return what is to be seen now."""
        if not self._start:
            return Text("the kernel boots; the daemon, whose ledger this is, has not started yet", "dim")
        head = Text.assemble(
            (f"{len(self._devices)} devices", "bold"),
            f", {len(self._matched)} matched, {len(self._bound)} bound, {len(self._loads)} loads",
            (f", {len(self._failures)} failed or denied" if self._failures else "", "red"),
            (f"   kernel {printable(self._start.get('kernel', '?'))}   {self._last_us / 1e6:.1f} s", "dim"),
        )
        return Group(head, "", *self._rows, "", self._sides())

    def _sides(self) -> RenderableType:
        table = Table.grid(padding=(0, 4))
        table.add_column(min_width=44)
        table.add_column()
        waiting = [
            Text(
                f"  {printable(module)}  for {who}, {duration(self._last_us - since)}",
                no_wrap=True,
                overflow="ellipsis",
            )
            for module, (who, since) in list(self._waiting.items())[:_SLOWEST]
        ]
        if len(self._waiting) > _SLOWEST:
            waiting.append(Text(f"  and {len(self._waiting) - _SLOWEST} more", "dim"))
        if not waiting:
            waiting.append(
                Text(
                    "  nothing: settled" if self.settled else "  nothing", "green" if self.settled else "dim"
                )
            )
        slowest = sorted(self._loads.items(), key=lambda item: -item[1])[:_SLOWEST]
        slow = [Text(f"  {duration(us):>9}  {printable(module)}") for module, us in slowest if us]
        table.add_row(Text("asked for, not loaded yet", "bold"), Text("slowest so far", "bold"))
        table.add_row(Group(*waiting), Group(*slow) if slow else Text("  none yet", "dim"))
        if not self._failures:
            return table
        failures = [Text(f"  {line}", "red") for line in self._failures[-_KNOWN_FAILURES:]]
        return Group(table, "", *failures)


class ChannelWatch:
    """The screen, drawn from the channel's bytes as they come; a context. They may come in another thread."""

    def __init__(self) -> None:
        self._watch = Watch()
        self._reader = LedgerReader()
        self._live = Live(self._watch.screen(), refresh_per_second=8)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._live.update(self._watch.screen(), refresh=True)
        self._live.stop()

    def feed(self, data: bytes) -> None:
        """Take bytes of the channel, in pieces of any size."""
        for record in self._reader.feed(data):
            self._watch.hear(record)
        self._live.update(self._watch.screen())


def _name(record: Mapping[str, Any]) -> str:
    node = record.get("ifname") or record.get("devname")
    name = str(record.get("devpath", "")).rpartition("/")[2]
    return printable(
        f"{record.get('subsystem', 'device')} {name}" + (f" ({node})" if node and node != name else "")
    )
