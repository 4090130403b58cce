"""A long life of the daemon's parts in a process of its own: python -m tests.support.soak KIND CYCLES LEDGER LIMIT.

A device is plugged in and pulled out again and again, through the real Service, Intake, Registry, Resolver, Loader,
Scheduler, Settling and Ledger; uevents, /sys and modprobe are fakes. KIND says what becomes of what it asks for. Prints
a JSON object: `grew`, bytes of resident memory from the first tenth of the cycles to the end; `size`, the ledger's; and
`largest`, what it had at most at a settle.
"""

import gc
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from modaliasd.core.device import Phase
from modaliasd.core.kmod.invocation import Flavour
from modaliasd.core.kmod.modprobe_d import Configuration
from modaliasd.core.kmod.modules_dep import Dependencies
from modaliasd.core.kmod.resolve import Resolver
from modaliasd.core.policy.rules import parse_policy
from modaliasd.linux.kmsg import KernelLog
from modaliasd.linux.ledger import Ledger
from modaliasd.linux.netlink import Datagram, Oddity
from modaliasd.service.loads.loader import Loader
from modaliasd.service.loads.tools import Tools
from tests.support.fakeworld import Fakes, FakeSysfs, FakeUevents

KINDS = ("live", "denied", "unknown", "failed", "asked", "disks")
HUB = "/devices/pci0000:00/0000:00:14.0/usb1"
DENY = '[[rule]]\naction = "deny"\nmodalias = "usb:*"\n'


class Plugging(FakeUevents):
    """The uevents of so many cycles; after each the socket is empty once, so that the daemon settles."""

    def __init__(self, kind: str, cycles: int, sysfs: FakeSysfs) -> None:
        super().__init__()
        self.cycle = 0
        self.over = False
        self._kind, self._cycles, self._sysfs = kind, cycles, sysfs
        self._coming = self._events()

    def receive(self) -> Datagram | Oddity:
        """The next event."""
        return next(self._coming, Oddity.EMPTY)

    def _events(self) -> Iterator[Datagram | Oddity]:
        seqnum = 0
        yield Oddity.EMPTY
        for number in range(self._cycles):
            self.cycle = number
            # HID devices have a new number each time, and so has what hangs on them
            path = (
                f"{HUB}/1-4/1-4:1.0" if self._kind != "unknown" else f"{HUB}/1-4/0003:046D.{self.cycle:04X}"
            )
            self._sysfs.put_off = [(path, "")] if self._kind == "unknown" else []
            asked = "usb:v1234p5678" if self._kind != "unknown" else f"hid:b0003v{self.cycle:08X}"
            for action, driver in (("add", ""), ("bind", "storage"), ("unbind", ""), ("remove", "")):
                seqnum += 1
                self._sysfs.seqnums[0] = seqnum
                # dm, loop and zram count on; a name that has gone is not to be remembered
                named = {"DEVNAME": f"disk{self.cycle:032d}"} if self._kind == "disks" else {}
                subsystem = "block" if named else "usb"
                self.event(path, seqnum, action, SUBSYSTEM=subsystem, MODALIAS=asked, DRIVER=driver, **named)
                yield self.script.popleft()
            yield Oddity.EMPTY
        self.over = True


def soak(kind: str, cycles: int, ledger_file: Path, limit: int) -> dict[str, Any]:
    """Live through the cycles."""
    sysfs = FakeSysfs()
    uevents = Plugging(kind, cycles, sysfs)
    ledger = Ledger(str(ledger_file), limit=limit)
    found = {"usb:v1234p5678": [("storage", "usb:v1234p*", 1, False)]}
    fakes = Fakes(
        uevents=uevents,
        sysfs=sysfs,
        ledger=ledger,  # type: ignore[arg-type]
        resolver=Resolver(Configuration(), Dependencies("k/storage.ko:\n"), lambda word: found.get(word, [])),  # type: ignore[arg-type]
        policy=parse_policy(DENY, "policy.toml") if kind == "denied" else None,
        phase=Phase.FROZEN if kind == "asked" else Phase.COLDPLUG,
    )
    program = "/nonexistent/modprobe"  # cannot be run: the load fails, and is tried again at each plug
    fakes.loader = Loader(  # type: ignore[assignment]
        tools=Tools(program, program, "/bin/sh", Flavour.BUSYBOX, "/nonexistent"),
        sysfs=sysfs,
        writer=fakes.writer(),
        kernel_log=KernelLog("/dev/null"),
        gate=fakes._gate(),
        clock=lambda: fakes.now_us,
        live=() if kind == "failed" else ("storage",),
        limit=8,
    )
    service = fakes.service()
    uevents.ring()
    first = largest = 0
    while not uevents.over:
        fakes.now_us += 10_000
        if kind == "asked":
            service._registry.may_load(f"fs-{uevents.cycle}")
        service._turn()
        service._wait()
        largest = max(largest, ledger.size)
        if not first and uevents.cycle >= cycles // 10:
            gc.collect()
            first = resident()
    ledger.flush()
    gc.collect()
    return {"grew": resident() - first, "size": ledger_file.stat().st_size, "largest": largest}


def resident() -> int:
    """Bytes of this process's resident memory (proc(5), statm)."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096


if __name__ == "__main__":
    kind_, cycles_, ledger_, limit_ = sys.argv[1:]
    print(json.dumps(soak(kind_, int(cycles_), Path(ledger_), int(limit_))))
