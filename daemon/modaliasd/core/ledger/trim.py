"""Which of a ledger's lines go when it has become too long: pure, bytes in, bytes out.

    boot's part | what is cut                     | the latest part
    stays       | what still holds, and a         | stays
                | `trimmed` line of what went     |

The boot's part is everything up to the first `settled` line, but never more than half the limit. Of what is cut, those
lines stay that say how things are at its end: of each device that is there, of a boot's device that has gone, of each
module's last loads. So a reader of the shorter ledger knows the same devices, drivers and loaded modules as one of
the whole. Lines are the daemon's own (core/ledger/write.py); they are told apart by their first fields without a JSON
parser, which the daemon does not import.
"""

from __future__ import annotations

from modaliasd.core.fasttypes import NamedTuple
from modaliasd.core.ledger.write import line
from modaliasd.core.loading.outcome import SUCCESSES, Outcome

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from modaliasd.core.ledger.write import Json

    Kept = tuple[int, bytes]  # a line's place in the file, and the line

SUCCESSFUL = frozenset(outcome.value.encode() for outcome in SUCCESSES)
LIVE = Outcome.LIVE.value.encode()
MOST_MOVES = 16  # of one device, of which the lines stay


class Trim(NamedTuple):
    """The bytes from `head` to `tail` of the file are to be replaced by `middle`."""

    head: int
    middle: bytes
    tail: int


def plan_trim(lines: Iterable[bytes], size: int, limit: int, now_us: int) -> Trim | None:
    """Return what to cut of a ledger of `size` bytes that is to have room to grow again within `limit`.

    None for nothing.
    """
    state = _State()
    went = _Went()
    at, head, wanted = 0, -1, 0
    for text in lines:
        if head < 0:
            state.hear(text, at, boot=True)
            at += len(text)
            if at > limit // 2 or text.startswith(b'{"type":"settled"'):
                head, wanted = at, size - (limit - at) // 2
            continue
        if at >= wanted:
            break
        state.hear(text, at, boot=False)
        went.count(text, 1)
        at += len(text)
    if head < 0 or at == head:
        return None
    kept = state.kept()
    for text in kept:
        went.count(text, -1)
    return Trim(head, b"".join([*kept, went.line(now_us)]), at)


class _Went:
    """Counts what goes."""

    def __init__(self) -> None:
        self._types: dict[str, int] = {}
        self._from_us = self._until_us = -1

    def count(self, text: bytes, sign: int) -> None:
        kind = type_of(text)
        t_us = _number(text, b"t_us")
        if kind == "trimmed":
            self._add(text)
            t_us = _number(text, b"from_us")
        else:
            self._types[kind] = self._types.get(kind, 0) + sign
        if sign > 0 and t_us >= 0:
            self._from_us = t_us if self._from_us < 0 else min(self._from_us, t_us)
            self._until_us = max(self._until_us, t_us, _number(text, b"t_us"))

    def _add(self, text: bytes) -> None:
        """Take over what an earlier trim has counted."""
        inside = text[text.find(b'"types":{') + 9 :].partition(b"}")[0]
        for pair in inside.split(b","):
            name, _, number = pair.partition(b":")
            if number.isdigit():
                key = name.strip(b'"').decode("ascii", "replace")
                self._types[key] = self._types.get(key, 0) + int(number)

    def line(self, now_us: int) -> bytes:
        types: dict[str, Json] = {kind: count for kind, count in sorted(self._types.items()) if count > 0}
        fields: dict[str, Json] = {
            "from_us": max(0, self._from_us),
            "at_us": now_us,
            "lines": sum(count for count in self._types.values() if count > 0),
            "types": types,
        }
        return line("trimmed", max(0, self._until_us), fields).encode("ascii")


class _Device:
    """The lines that make a device what it is. boot: is it in the part that stays?"""

    __slots__ = ("binding", "boot", "first", "idle", "latest", "matched", "moves")

    def __init__(self, *, boot: bool) -> None:
        self.boot = boot
        self.moves: list[Kept] = []
        self.first: Kept | None = None
        self.matched: Kept | None = None
        self.binding: Kept | None = None
        self.latest: Kept | None = None
        self.idle: Kept | None = None

    def lines(self) -> list[Kept]:
        own = (self.first, self.matched, self.binding, self.latest, self.idle)
        return [*self.moves, *(kept for kept in own if kept is not None)]


class _State:
    """How things are, line by line."""

    def __init__(self) -> None:
        self._devices: dict[bytes, _Device] = {}
        self._gone: list[Kept] = []  # of devices of the boot
        self._loads: dict[tuple[bytes, bytes], Kept] = {}  # by module, and whether it was a success
        self._modules: dict[
            tuple[bytes, bytes], Kept
        ] = {}  # what came and went by itself, by module and action
        self._single: dict[str, Kept] = {}  # one of a type that says what the daemon is
        self._settled = False

    def hear(self, text: bytes, at: int, *, boot: bool) -> None:
        """Take the next line. Those of the boot's part stay anyway."""
        kind = type_of(text)
        if kind == "device":
            self._hear_device(text, at, boot=boot)
        elif kind == "settled" and not self._settled:
            self._settled = True  # a boot that is longer than half the limit
            self._single.update({} if boot else {kind: (at, text)})
        elif boot:
            return
        elif kind == "load":
            module, outcome = _value(text, b"module"), _value(text, b"outcome")
            how = outcome if outcome == LIVE else b"success" if outcome in SUCCESSFUL else b""
            self._loads[module, how] = (at, text)
        elif kind == "module":
            module, action = _value(text, b"module"), _value(text, b"action")
            self._modules[module, action] = (at, text)
        elif kind == "unbound":
            device = self._devices.get(_value(text, b"devpath"))
            if device is not None:
                device.idle = (at, text)
        elif kind in {"start", "boot", "frozen", "exit"}:
            self._single[kind] = (at, text)

    def _hear_device(self, text: bytes, at: int, *, boot: bool) -> None:
        devpath, action = _value(text, b"devpath"), _value(text, b"action")
        if action == b"remove":
            gone = self._devices.pop(devpath, None)
            if gone is not None and gone.boot and not boot:
                self._gone += [*gone.moves, (at, text)]
            return
        if action == b"move":
            self._move(_value(text, b"from"), devpath)
        device = self._devices.get(devpath)
        if device is None:
            device = self._devices[devpath] = _Device(boot=boot)
        if boot:
            return
        kept = (at, text)
        if action == b"move":
            if len(device.moves) >= MOST_MOVES:  # somebody renames it for ever: what it is now has to do
                device.moves.clear()
            device.moves.append(kept)
        elif action in {b"bind", b"unbind"}:
            device.binding = kept
        elif b'"matches":[' in text:
            device.matched = kept
        else:
            device.latest = kept
        if device.first is None:
            device.first = kept

    def _move(self, old: bytes, new: bytes) -> None:
        """Note that the device at `old`, and all below it, stand at `new` now."""
        below = old + b"/"
        for path in [path for path in self._devices if path == old or path.startswith(below)]:
            self._devices[new + path[len(old) :]] = self._devices.pop(path)

    def kept(self) -> list[bytes]:
        """Return the lines that stay, in their order, each once."""
        kept: dict[int, bytes] = dict(self._gone)
        for device in self._devices.values():
            kept.update(device.lines())
        for lines in (self._loads, self._modules, self._single):
            kept.update(lines.values())
        return [kept[at] for at in sorted(kept)]


def type_of(text: bytes) -> str:
    """Return the type of the record that the line holds; "unknown" where it is none of the daemon's lines."""
    if not text.startswith(b'{"type":"'):
        return "unknown"
    kind = text[9 : text.find(b'"', 9)].decode("ascii", "replace")
    return kind if kind.isidentifier() else "unknown"


def _value(text: bytes, key: bytes) -> bytes:
    """Return the first string of this name in the line, as it is written there; b"" if there is none."""
    mark = b'"' + key + b'":"'
    at = text.find(mark)
    if at < 0:
        return b""
    start = at + len(mark)
    end = text.find(b'"', start)
    while end >= 0:
        value = text[start:end]
        if not (len(value) - len(value.rstrip(b"\\"))) % 2:
            return value
        end = text.find(b'"', end + 1)  # that one was escaped
    return b""


def _number(text: bytes, key: bytes) -> int:
    """Return the first whole number of this name in the line; -1 if there is none."""
    mark = b'"' + key + b'":'
    at = text.find(mark)
    digits = text[at + len(mark) : at + len(mark) + 20].partition(b",")[0].partition(b"}")[0]
    return int(digits) if at >= 0 and digits.isdigit() else -1
