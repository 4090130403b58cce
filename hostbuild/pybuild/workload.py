"""What an interpreter is trained with: work of the kind that a guest's daemon does, on made-up devices.

It runs inside the interpreter that is being built (training.py), frozen, as the daemon is: modules are imported,
classes made, a tree like sysfs walked, aliases matched against patterns, loads put into an order, lines of JSON
written, frames packed. All in the current directory; nothing depends on a clock, a process or a random number.

The daemon's own code is not taken: an interpreter would have to be built again with each change of it.
"""

from __future__ import annotations

import posix
from _heapq import heappop, heappush
from _struct import pack, unpack_from

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# Modules of the library that are imported one after the other: their bytes become functions and classes
IMPORTED = (
    *(
        "collections",
        "contextlib",
        "dataclasses",
        "enum",
        "functools",
        "heapq",
        "json",
        "operator",
        "os",
        "re",
    ),
    *("selectors", "shlex", "signal", "socket", "struct", "subprocess", "textwrap", "types", "typing"),
)
BUSES = {"pci": 48, "virtio": 10, "usb": 40, "scsi": 8, "acpi": 70, "platform": 40, "serio": 2, "cpu": 4}
_READ = 16384


class _Error(Exception):
    """What a lookup of nothing raises."""


class Trie:
    """Patterns by their bytes, in one bytes object: the children of a node sorted, wildcards beside them."""

    __slots__ = ("_data", "_root", "hits")

    def __init__(self, patterns: dict[str, str]) -> None:
        self.hits = 0
        parts: list[bytes] = []
        self._root = self._write(sorted(patterns.items()), 0, parts, [0])
        self._data = b"".join(parts)

    def _write(self, rows: list[tuple[str, str]], depth: int, parts: list[bytes], length: list[int]) -> int:
        names = [name for pattern, name in rows if len(pattern) == depth]
        groups: dict[int, list[tuple[str, str]]] = {}
        for pattern, name in rows:
            if len(pattern) > depth:
                groups.setdefault(ord(pattern[depth]), []).append((pattern, name))
        children = [
            (byte, self._write(group, depth + 1, parts, length)) for byte, group in sorted(groups.items())
        ]
        label = (names[0] if names else "").encode()
        node = pack("<BB", len(children), len(label)) + label
        node += b"".join([pack("<BI", byte, place) for byte, place in children])
        parts.append(node)
        place = length[0]
        length[0] += len(node)
        return place

    def lookup(self, alias: str) -> list[str]:
        """Return the names of all patterns that an alias matches. Raises _Error for none."""
        found: list[str] = []
        self._search(self._root, alias.encode("utf-8", "surrogateescape"), 0, found)
        if not found:
            raise _Error(f"nothing matches {alias!r}")
        self.hits += len(found)
        return found

    def _search(self, place: int, text: bytes, at: int, found: list[str]) -> None:
        data = self._data
        while True:
            count, length = data[place], data[place + 1]
            start = place + 2 + length
            if at == len(text) and length:
                found.append(data[place + 2 : start].decode())
            following = -1
            for number in range(count):
                byte = data[start + 5 * number]
                if byte == 42:
                    (child,) = unpack_from("<I", data, start + 5 * number + 1)
                    if data[child] == 0:
                        found.append(data[child + 2 : child + 2 + data[child + 1]].decode())
                        continue
                    wanted = data[child + 2 + data[child + 1]]
                    after = text.find(wanted, at)
                    while after >= 0:
                        self._search(child, text, after, found)
                        after = text.find(wanted, after + 1)
                elif at < len(text) and byte == text[at]:
                    (following,) = unpack_from("<I", data, start + 5 * number + 1)
            if following < 0:
                return
            place, at = following, at + 1


def build_tree(root: str) -> None:
    """Make a tree like sysfs: buses whose links lead to devices, each with a uevent file."""
    for place in ("", "/bus", "/devices"):
        posix.mkdir(root + place)
    for bus, count in BUSES.items():
        for place in (f"bus/{bus}", f"bus/{bus}/devices", f"devices/{bus}0"):
            posix.mkdir(f"{root}/{place}")
        for number in range(count):
            name = f"{bus}{number:04x}:00"
            place = f"{root}/devices/{bus}0/{name}"
            posix.mkdir(place)
            lines = [f"MODALIAS={alias_of(bus, number)}", f"DEVTYPE={bus}_device", f"ID={number:X}"]
            if number % 3 == 0:
                lines.append(f"DRIVER={bus}drv{number % 7}")
            if number % 5 == 0:
                lines += [f"DEVNAME=bus/{bus}/{number:03}", "MAJOR=189", f"MINOR={number}"]
            with open(f"{place}/uevent", "w") as stream:
                stream.write("\n".join(lines) + "\n")
            posix.symlink(f"../../../devices/{bus}0/{name}", f"{root}/bus/{bus}/devices/{name}")


def alias_of(bus: str, number: int) -> str:
    """Return what a made-up device is called, as the buses write it."""
    if bus == "pci":
        return f"pci:v{0x8086 + number % 3:08X}d{0x1000 + number:08X}sv00001AF4sd{number:08X}bc01sc06i01"
    if bus == "usb":
        return f"usb:v{0x46D + number % 4:04X}p{0xC000 + number:04X}d0111dc00dsc00dp00ic03isc01ip02in00"
    if bus == "acpi":
        return f"acpi:PNP{number:04X}:LNXSYB{number:02X}:"
    return f"{bus}:d{number:08X}v00001AF4"


def patterns() -> dict[str, str]:
    """Return patterns as drivers have them: pattern -> module."""
    made: dict[str, str] = {}
    for number in range(160):
        made[f"pci:v{0x8086 + number % 3:08X}d{0x1000 + number:08X}sv*sd*bc*sc*i*"] = f"pci_driver_{number}"
        made[f"usb:v{0x46D + number % 4:04X}p{0xC000 + number:04X}d*dc*dsc*dp*ic03isc*ip*"] = f"usb_{number}"
        made[f"acpi*:PNP{number:04X}:*"] = f"acpi_{number % 20}"
    for number in range(12):
        made[f"virtio:d{number:08X}v*"] = f"virtio_{number}"
        made[f"pci:v*d*sv*sd*bc{number:02X}sc06i01*"] = f"class-{number}"
    made["cpu:*"] = "cpu_any"
    return made


class Device:
    """What the walk finds."""

    __slots__ = ("devname", "devpath", "devtype", "driver", "modalias", "subsystem")

    def __init__(self, devpath: str, subsystem: str, env: dict[str, str]) -> None:
        self.devpath = devpath
        self.subsystem = subsystem
        self.modalias = env.get("MODALIAS", "")
        self.driver = env.get("DRIVER", "")
        self.devtype = env.get("DEVTYPE", "")
        self.devname = env.get("DEVNAME", "")

    def fields(self) -> dict[str, str]:
        """Return what is not empty, by name."""
        return {name: value for name in self.__slots__ if (value := getattr(self, name))}


class Walk:
    """Reads the tree: each device once."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.seen: set[str] = set()
        self.gone = 0

    def devices(self) -> Iterator[Device]:
        """Yield the devices, bus by bus."""
        order = {"pci": 0, "virtio": 1, "usb": 2}
        for bus in sorted(posix.listdir(f"{self.root}/bus"), key=lambda bus: order.get(bus, 9)):
            directory = f"{self.root}/bus/{bus}/devices"
            for name in sorted(posix.listdir(directory)):
                target = posix.readlink(f"{directory}/{name}")
                devpath = target[target.find("/devices/") :]
                if devpath in self.seen:
                    continue
                self.seen.add(devpath)
                env = self._read(f"{self.root}{devpath}/uevent")
                self._read(f"{self.root}{devpath}/modalias")
                yield Device(devpath, bus, env)

    def _read(self, path: str) -> dict[str, str]:
        try:
            descriptor = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
        except OSError as e:
            if e.errno != 2:
                raise
            self.gone += 1
            return {}
        try:
            content = posix.read(descriptor, _READ)
        finally:
            posix.close(descriptor)
        env: dict[str, str] = {}
        for line in content.decode("utf-8", "surrogateescape").split("\n"):
            key, equals, value = line.partition("=")
            if equals:
                env[key] = value
        return env


def to_json(value: object) -> str:
    """JSON text of a value."""
    if isinstance(value, str):
        if value.isascii() and value.isprintable() and '"' not in value and "\\" not in value:
            return f'"{value}"'
        return '"' + "".join([f"\\u{ord(char):04x}" for char in value]) + '"'
    if value is None or value is True or value is False:
        return "null" if value is None else str(value).lower()
    if isinstance(value, dict):
        return "{" + ",".join([f"{to_json(key)}:{to_json(item)}" for key, item in value.items()]) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join([to_json(item) for item in value]) + "]"
    return repr(value)


class Schedule:
    """Loads by rank; what depends on another waits for it."""

    __slots__ = ("_heap", "_needed", "done")

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, str]] = []
        self._needed: dict[str, list[str]] = {}
        self.done: list[str] = []

    def add(self, module: str, rank: int) -> None:
        """Put a module into the queue, unless it is known."""
        if module not in self._needed:
            self._needed[module] = [f"{module}_core"] if rank % 2 else []
            heappush(self._heap, (rank, len(self._needed), module))

    def run(self) -> Iterator[tuple[str, list[str]]]:
        """Yield what comes next, with what it needs."""
        while self._heap:
            _, _, module = heappop(self._heap)
            needed = [one for one in self._needed[module] if one not in self.done]
            self.done += [*needed, module]
            yield module, needed


def boot(root: str, trie: Trie) -> int:
    """Walk, match, order and write; return how long the lines are."""
    schedule = Schedule()
    lines: list[str] = []
    time_us = 0
    for device in Walk(root).devices():
        time_us += 137
        try:
            modules = trie.lookup(device.modalias)
        except _Error as e:
            modules = []
            lines.append(f'{{"type":"problem","t_us":{time_us},"message":{to_json(str(e))}}}\n')
        lines.append(f'{{"type":"device","t_us":{time_us},{to_json(device.fields())[1:]}\n')
        for module in modules:
            schedule.add(module, len(device.devpath) % 5)
    for module, needed in schedule.run():
        time_us += 1009
        row = {"module": module, "deps": needed, "ms": round(time_us / 1000, 3), "ok": True, "why": None}
        lines.append(f'{{"type":"load","t_us":{time_us},{to_json(row)[1:]}\n')
    text = "".join(lines)
    with open("ledger.jsonl", "wb") as stream:
        stream.write(text.encode())
    frames = [
        pack(">IHB", len(line), number & 0xFFFF, 1) + line.encode() for number, line in enumerate(lines)
    ]
    return sum([unpack_from(">IHB", frame)[0] + frame.count(b'"') for frame in frames])


def uevents(count: int) -> int:
    """Parse messages as the kernel sends them; return how many devices are left."""
    live: dict[str, int] = {}
    for number in range(count):
        action = ("add", "bind", "change", "remove")[number % 4]
        devpath = f"/devices/pci0000:00/0000:00:{number // 4 % 32:02x}.0/usb{number % 3}"
        words = [f"{action}@{devpath}", f"ACTION={action}", f"DEVPATH={devpath}", f"SEQNUM={number}"]
        head, *rest = ("\0".join(words) + "\0").encode().rstrip(b"\0").split(b"\0")
        env = dict(word.decode("utf-8", "surrogateescape").split("=", 1) for word in rest)
        if head.startswith(b"remove@"):
            live.pop(env["DEVPATH"], None)
        else:
            live[env["DEVPATH"]] = int(env["SEQNUM"])
    return len(live)


def make_classes(count: int) -> int:
    """Make classes as modules do that are imported: functions with defaults, properties, slots."""
    made = 0
    for number in range(count):

        class Plain:
            """One."""

            __slots__ = ("first", "second")
            limit = number

            def __init__(self, first: int = 0, *, second: str = "") -> None:
                self.first = first
                self.second = second

            @property
            def both(self) -> str:
                return f"{self.first}{self.second}"

            @staticmethod
            def none() -> None:
                return None

        class Derived(Plain):
            __slots__ = ()

            def __eq__(self, other: object) -> bool:
                return isinstance(other, Plain) and other.first == self.first

            def __hash__(self) -> int:
                return hash(self.first)

        body = {
            "__slots__": (),
            "first": property(lambda self: self[0]),
            "second": property(lambda self: self[1]),
        }
        pair = type("Pair", (tuple,), body)((number, "x"))
        one = Derived(pair.first, second=pair.second)
        made += len({one, Derived(number), Derived(number + 1)}) + len(one.both)
    return made


def train() -> None:
    """Do all of it, in the current directory."""
    for name in IMPORTED:
        __import__(name)
    build_tree("sys")
    for _ in range(3):
        trie = Trie(patterns())
        boot("sys", trie)
        uevents(400)
        make_classes(60)


if __name__ == "workload":  # as training.py has frozen it
    train()
