"""The history as a tree of text: by device (cascades nested), by module, or in the order of time.

    0000:00:11.0  pci  driver xhci_hcd  at 6.42 s, bound 6.25 s later
    │  pci:v00001B36d0000000Dsv00001AF4sd00001100bc0Csc03i30
    │  alias pci:v*d*sv*sd*bc0Csc03i30* (line 42)
    │    xhci_pci loaded in 11 ms
    │      with usb_common 1.3 s, usbcore 363 ms, xhci_hcd 303 ms
    └─ usb1  usb  /dev/bus/usb/001/001  driver usb  at 12.55 s, bound 46 ms later

Devices that have nothing to tell are folded: no match, no module's driver, no node that came with one.
"""

from __future__ import annotations

from modaliasd.core.kmod.plan import ALIAS_FILE
from modaliasd.core.ledger.devicetree import node_words
from modaliasd.core.ledger.history import UNKNOWN, DeviceHistory, History, LoadHistory
from modaliasd.core.ledger.text import UNTIMED, cause_text, duration, shorten, style_of
from modaliasd.core.printable import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from modaliasd.core.kmod.plan import Match

WIDTH = 110  # columns; longer modaliases are cut in their middle


def render_tree(
    history: History, by: str = "device", *, color: bool = False, width: int = WIDTH, since_us: int = UNKNOWN
) -> str:
    """Return the tree as text, each line ended by a newline.

    by: "device", "module" or "time". width: columns, 0 to cut nothing. since_us: only what came after.
    """
    style = style_of(color)
    if by == "module":
        lines = _by_module(history, style, width, since_us)
    elif by == "time":
        lines = _by_time(history, style, width, since_us)
    else:
        lines = _Devices(history, style, width, since_us).lines()
    return "".join(f"{line}\n" for line in [*lines, *_closing(history, style)])


class _Devices:
    """The tree by device."""

    def __init__(self, history: History, style: Callable[[str, str], str], width: int, since_us: int) -> None:
        self._history = history
        self._style = style
        self._width = width
        self._since_us = since_us
        self._told: set[str] = set()  # modules whose load was told

    def lines(self) -> list[str]:
        """Return all devices that have something to tell."""
        out: list[str] = []
        self._family(out)
        own = [a for a in self._history.appearances if a.came and a.t_us > self._since_us]
        if own:
            out.append(
                f"modules that came by themselves  {self._style('faint', 'the kernel asked for them')}"
            )
            for appearance in own:
                module = self._style("module", printable(appearance.module))
                out.append(f"   {module} at {duration(appearance.t_us)}{self._user_of(appearance.module)}")
        return out

    def _user_of(self, module: str) -> str:
        users = self._history.driven_by(module)
        return f", drives {printable(users[0].name)}" if users else ""

    def _unfolded(self, devpaths: Iterable[str]) -> list[DeviceHistory]:
        """Return the nearest devices at or below `devpaths` that are to be shown, by devpath."""
        shown: list[DeviceHistory] = []
        waiting = list(devpaths)[::-1]
        while waiting:
            device = self._history.devices[waiting.pop()]
            if self._is_news(device) and self._history.matters(device):
                shown.append(device)
            else:
                waiting += reversed(device.children)
        return shown

    def _is_news(self, device: DeviceHistory) -> bool:
        return self._since_us < 0 or max(device.seen_us, device.bound_us, device.gone_us) > self._since_us

    def _family(self, out: list[str]) -> None:
        """Add the lines of all devices, each followed by what is below it."""
        roots = self._unfolded([device.devpath for device in self._history.roots()])
        waiting = [(root, "", "") for root in reversed(roots)]
        while waiting:
            device, first, rest = waiting.pop()
            children = self._unfolded(device.children)
            self._device(out, device, first, rest + ("│  " if children else "   "))
            for child in reversed(children):
                last = child is children[-1]
                waiting.append((child, rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  ")))

    def _device(self, out: list[str], device: DeviceHistory, first: str, bar: str) -> None:
        """Add the device's own lines. first: what stands before the first of them, bar: before the others."""
        style = self._style
        head, when = self._head(device)
        fits = not self._width or len(first) + len(head[0]) + len(when) + 2 <= self._width
        out.append(style("faint", first) + head[1] + (style("faint", f"  {when}") if when and fits else ""))
        if when and not fits:
            out.append(style("faint", bar + when))
        out += [style("faint", bar) + line for line in self._details(device, len(bar))]

    def _head(self, device: DeviceHistory) -> tuple[tuple[str, str], str]:
        """Return the device's line, plain and styled, and the words about its times."""
        parts = [("name", printable(device.name))]
        if device.subsystem:
            parts.append(("faint", printable(device.subsystem)))
        if node := device.node:
            parts.append(("node", printable(node)))
        if device.driver:
            parts.append(("driver", f"driver {printable(device.driver)}"))
        elif device.former:
            manner = "warn" if device.present else "faint"
            parts.append((manner, f"was driven by {printable(device.former)}"))
        elif device.idle_drivers:
            parts.append(
                ("warn", f"unbound: {', '.join(map(printable, device.idle_drivers))} did not take it")
            )
        when = f"at {duration(device.seen_us)}" if device.seen_us >= 0 else ""
        if device.bound_us >= 0:
            when += f", bound {duration(device.bound_us - device.seen_us)} later"
        if not device.present:
            when += f", gone at {duration(device.gone_us)}"
        told = bool(device.matches) or device.bound_us >= 0 or not device.present
        styled = "  ".join(self._style(name, text) for name, text in parts)
        return ("  ".join(text for _, text in parts), styled), when if told else ""

    def _details(self, device: DeviceHistory, indent: int) -> list[str]:
        """Return the lines below a device: its modalias, then each alias that matched and what came of it."""
        if not device.matches:
            return []
        style, room = self._style, max(30, self._width - indent) if self._width else 0
        lines = [style("faint", shorten(printable(device.modalias), room))]
        for alias, matches in _by_alias(device):
            first = matches[0]
            place = f"line {first.line}" if first.file == ALIAS_FILE else printable(first.place)
            line = f" ({place})" if first.line else ""
            lines.append(f"alias {shorten(printable(alias), max(24, room - 26) if room else 0)}{line}")
            if node := node_words(device.modalias, alias, device.of_node):
                lines.append(style("faint", shorten(printable(f"  {node}"), room)))
            lines += [text for match in matches for text in self._became(device, match, room)]
        return lines

    def _became(self, device: DeviceHistory, match: Match, room: int) -> list[str]:
        """Return the lines that say what became of a module that the device asked for."""
        style, module = self._style, match.module
        name = style("module", printable(module))
        load = self._history.load_of(module)
        if match.builtin:
            return [f"  {name} is built into the kernel"]
        if load is None:
            unknown = (
                "is not loaded" if self._history.watched else "was asked for; its load is not in the ledger"
            )
            return [f"  {name} {style('warn', unknown)}"]
        if module in self._told or load.asker != device.devpath:
            return [f"  {name} {style('faint', self._already(load))}"]
        self._told.add(module)
        if not load.succeeded:
            return [f"  {name} {style('bad', printable(load.outcome))}{_reason(load)}"]
        if load.own_us < 0:
            return [f"  {name} {UNTIMED.get(load.outcome, printable(load.outcome))}"]
        lines = [f"  {name} loaded in {duration(load.own_us)}"]
        if load.brought:
            lines += [
                style("faint", f"    {text}") for text in _wrapped("with ", self._times(load.brought), room)
            ]
        return lines

    def _already(self, load: LoadHistory) -> str:
        asker = load.asker
        if not load.succeeded:
            return printable(f"{load.outcome}, see {asker.rpartition('/')[2] or 'above'}")
        cause = load.causes[0] if load.causes else None
        if cause is not None and cause.module:
            return printable(f"is in already: {cause.in_short()}")
        return (
            printable(f"is in already: {asker.rpartition('/')[2]} asked first") if asker else "is in already"
        )

    def _times(self, modules: Iterable[str]) -> list[str]:
        shown = []
        for module in modules:
            load = self._history.load_of(module)
            name = printable(module)
            shown.append(f"{name} {duration(load.own_us)}" if load is not None else name)
        return shown


def _wrapped(head: str, words: list[str], width: int) -> list[str]:
    """Return the words with commas behind `head`, in lines of at most `width` columns (0: one line)."""
    lines, current = [], head
    for at, word in enumerate(words):
        comma = "" if at == len(words) - 1 else ", "
        if width and len(current) > len(head) and len(current) + len(word) + 4 > width:
            lines.append(current.rstrip())
            current = " " * len(head)
        current += word + comma
    return [*lines, current]


def _by_alias(device: DeviceHistory) -> list[tuple[str, list[Match]]]:
    """Return the device's matches, those of one pattern together."""
    groups: dict[str, list[Match]] = {}
    for match in device.matches:
        groups.setdefault(match.alias, []).append(match)
    return list(groups.items())


def _reason(load: LoadHistory) -> str:
    return f": {printable(load.message)}" if load.message else ""


def _load_line(history: History, load: LoadHistory, style: Callable[[str, str], str], width: int) -> str:
    name = style("module", f"{printable(load.module):<24}")
    if not load.succeeded:
        outcome = style("bad", f"{printable(load.outcome):>9}")
    else:
        outcome = f"{duration(load.own_us) if load.own_us >= 0 else printable(load.outcome):>9}"
    room = max(24, width - 36) if width else 0  # what the name and the time leave
    because = style("faint", shorten(cause_text(history, load), room))
    return f"{name} {outcome}  {because}{_reason(load)}"


def _by_module(history: History, style: Callable[[str, str], str], width: int, since_us: int) -> list[str]:
    """Modules by name; below each the modules that came with it and the devices it drives."""
    lines = []
    for load in sorted(history.loads, key=lambda one: one.module):
        if load.end_us <= since_us:
            continue
        lines.append(_load_line(history, load, style, width))
        is_last = history.load_of(load.module) is load
        below = [f"needed {style('module', printable(name))}" for name in (load.brought if is_last else ())]
        below += [
            f"drives {printable(device.subsystem)} {style('name', printable(device.name))}"
            for device in (history.driven_by(load.module) if is_last else ())
        ]
        for at, text in enumerate(below):
            lines.append(style("faint", "  └─ " if at == len(below) - 1 else "  ├─ ") + text)
    return lines


_STAMP = 13  # columns that the time in front takes


def _by_time(history: History, style: Callable[[str, str], str], width: int, since_us: int) -> list[str]:
    """Return what happened, in order: loads at their start, modules that came by themselves, settles."""
    events: list[tuple[int, str]] = []
    for load in history.loads:
        at = load.start_us if load.start_us >= 0 else load.end_us
        events.append((at, _load_line(history, load, style, width and width - _STAMP)))
    for one in history.appearances:
        name = style("module", f"{printable(one.module):<24}")
        what = "came by itself" if one.came else "was removed"
        events.append((one.t_us, f"{name} {'':>9}  {style('faint', what)}"))
    events += [(settle.t_us, style("driver", "settled")) for settle in history.settles]
    for device in history.devices.values():
        if device.hotplugged and device.matches:
            events.append((device.seen_us, f"plugged {style('name', printable(device.name))}"))
        if not device.present and device.matches:
            events.append((device.gone_us, f"unplugged {style('name', printable(device.name))}"))
    events.sort(key=lambda event: event[0])
    return [f"{style('faint', f'{at / 1e6:9.3f} s')}  {text}" for at, text in events if at > since_us]


def _closing(history: History, style: Callable[[str, str], str]) -> list[str]:
    """Return what was folded, what was lost, and the numbers of the last settle."""
    lines = []
    lost = sum(int(record.get("events", 0)) for record in history.losses)
    if lost:
        lines.append(style("warn", f"{lost} uevents were lost, and made good by another walk"))
    if history.timeless:
        devices = history.devices.values()
        matched = sum(any(not match.builtin for match in device.matches) for device in devices)
        bound = sum(bool(device.driver) for device in devices)
        lines.append(f"as it is now: {len(devices)} devices, {matched} matched, {bound} bound")
        return lines
    if not history.settles:
        lines.append(style("warn", "not settled yet"))
        return lines
    fields = history.settles[-1].fields
    failed = int(fields.get("failed", 0))
    failures = style("bad", f"{failed} failed") if failed else "none failed"
    lines.append(
        f"{fields.get('devices', 0)} devices, {fields.get('matched', 0)} matched, "
        f"{fields.get('bound', 0)} bound; {fields.get('loads', 0)} modules loaded, {failures}; "
        f"settled {duration(history.settled_us - history.started_us)} after the daemon's start"
    )
    return lines
