"""Plug the same devices into the same machine under one loader and then another: `make bench-hotplug`.

For each kind of tests/support/plugs.py: from the kernel's `add` uevent of the device to the insertion of its module,
and to the `bind` uevent of its driver. The kernel's own tracer tells the times (a kprobe on dev_uevent, the event
module_load), so neither loader is asked. Time is counted in instructions (QEMU's -icount shift=0,sleep=off,
one a nanosecond), which repeats whatever else this machine does: "ims" are a million instructions. Each device
comes alone, and its module is not yet loaded when it does.

The insertion itself (finit_module(2): most of it is the check of the module's signature) takes the same whoever asks
for it, so it is told apart from what the loader takes.

    PYTHONPATH=. python benchmarks/bench_hotplug.py [--kinds N] [--ways WAY ...]
"""

import argparse
import math
import re
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from hostbuild.image.build import BuiltImage, ImageOptions, Modprobe, build_image
from hostbuild.qemu.boot import Boot
from hostbuild.qemu.device import parse_device
from hostbuild.qemu.machine import read_machine
from hostbuild.qemu.vm import VM
from tests.support.plugs import PCI_EXPRESS, SCSI, USB, Plug, plug
from tests.support.udevd import make_overlay

CONTROLLERS = ("qemu-xhci,id=xhci,p2=12,p3=12", "virtio-scsi-pci,id=scsi0")
# drivers/base/core.c, dev_uevent(kobject, env): called for every uevent of a device, once the buffer of env (struct
# kobj_uevent_env: 3 + 64 pointers and an int before it) has ACTION=, DEVPATH= and SUBSYSTEM=. Where DEVPATH's value
# begins hangs on the length of the action. lib/kobject_uevent.c itself cannot be probed: lib/ is built without ftrace.
_BUFFER = 8 * (3 + 64) + 4
_ADDED = _BUFFER + len("ACTION=add") + 1 + len("DEVPATH=")
_BOUND = _BUFFER + len("ACTION=bind") + 1 + len("DEVPATH=")
TRACE = (
    "mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null; cd /sys/kernel/tracing && "
    "echo boot >trace_clock && echo 8192 >buffer_size_kb && "
    f"echo 'p:bench/uevent dev_uevent action=+{_BUFFER + len('ACTION=')}(%si):string "
    f"added=+{_ADDED}(%si):string bound=+{_BOUND}(%si):string' >kprobe_events && "
    "echo 'p:bench/insert __x64_sys_finit_module' >>kprobe_events && "
    "echo 'r:bench/inserted __x64_sys_finit_module' >>kprobe_events && "
    "echo 1 >events/bench/enable && echo 1 >events/module/module_load/enable"
)
# What has the driver, then the trace. The shell's own work comes after that of the plug: nothing polls meanwhile.
LOOK = 'sleep {rest}; realpath /sys/bus/*/drivers/"{driver}"/*; echo; cat /sys/kernel/tracing/trace'
START_UDEVD = (
    "rm -rf /usr/lib/udev/rules.d; ln -s /usr/lib/{rules} /usr/lib/udev/rules.d; "
    "/lib/systemd/systemd-udevd --daemon >/dev/null 2>&1; udevadm trigger --type=subsystems --action=add; "
    "udevadm trigger --type=devices --action=add; udevadm settle"
)
# Whose modprobe and index the image has, and which of udev's directories of rules.
WAYS = {
    "modaliasd": (Modprobe.BUSYBOX, ""),
    "modaliasd, kmod's modprobe": (Modprobe.KMOD, ""),
    "udevd, its two loading rules": (Modprobe.KMOD, "udev-two"),
    "udevd, Debian's rules": (Modprobe.KMOD, "udev/rules.debian"),
}
_LINE = re.compile(r"^\s*(\S.*?)\s+\[\d+\].*?\s(\d+\.\d+): (\w+): (.*)$")
_UEVENT = re.compile(r'action="(\w+)" added="([^"]*)" bound="([^"]*)"')
BREATH_S = 1.0  # of wall time after a plug, in which an idle guest's clock leaps ahead by minutes
REST_S = 30  # of the guest's time, after which a plug has had its effect
PATIENCE = 4
SHARES = (0.5, 0.9, 0.99)


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from a device's `add` to its module's insertion, and to its driver's `bind`.

    kernel: how much of `load` the kernel was at insertions (finit_module(2)), the module's own and of those it needs.
    """

    load: float
    bind: float
    kernel: float

    @property
    def own(self) -> float:
        """What the loader took: to wake up, find the module, and come to the system call."""
        return self.load - self.kernel


def build(directory: Path, modprobe: Modprobe) -> BuiltImage:
    """Build the image with both loaders in it, and with one of the modprobes."""
    directory.mkdir()
    overlay = make_overlay(directory / "overlay")
    (overlay / "usr/lib/udev/rules.d").rename(overlay / "usr/lib/udev/rules.debian")
    options = ImageOptions(kernel="deb:linux-image-amd64", modprobe=modprobe, overlays=(overlay,))
    return build_image(directory / "bench.img", options)


def measure(built: BuiltImage, way: str, rules: str, kinds: tuple[Plug, ...]) -> dict[str, Latency]:
    """Boot with one of the loaders, plug everything in, one after the other, and out again."""
    machine = replace(read_machine("empty"), root_ports=4).plus(map(parse_device, CONTROLLERS))
    append = "quiet modaliasd.channel= modaliasd.log=ledger" + (" modaliasd.off" if rules else "")
    boot = Boot(built.kernel.vmlinuz, built.image, append=append, memory=1024, icount=True, limit_s=3000)
    found: dict[str, Latency] = {}
    with VM(machine, boot) as vm:
        vm.check(START_UDEVD.format(rules=rules) if rules else "modaliasd settle", timeout=600)
        vm.check(f"sleep {REST_S}", timeout=300)  # what the boot has begun may go on behind a settle
        vm.check(TRACE, timeout=60)
        for kind in kinds:
            vm.check(f"rmmod {kind.module} 2>/dev/null; echo >/sys/kernel/tracing/trace", timeout=60)
            device = plug(vm, kind)
            for _ in range(PATIENCE):
                time.sleep(BREATH_S)
                latency = read_latency(
                    vm.sh(LOOK.format(rest=REST_S, driver=kind.driver), timeout=300).output, kind
                )
                if latency is not None:
                    found[kind.device] = latency
                    break
            print(f"{way}: {kind.device}: {latency or 'not measured'}", file=sys.stderr, flush=True)
            vm.device_del(device, timeout=120)
            vm.check(f"sleep {REST_S}", timeout=300)
    return found


def read_latency(look: str, kind: Plug) -> Latency | None:
    """Return what LOOK tells of a plug: of the first device that was added, and to which the driver was bound once
    its module had been inserted. None while there is none, or where the module was there already.
    """
    driven, _, trace = look.partition("\n\n")
    devpaths = {line.removeprefix("/sys") for line in driven.splitlines()}
    added: dict[str, float] = {}
    inserting: list[tuple[float, float]] = []  # from a call of finit_module(2) to its end
    begun: dict[str, float] = {}  # the calls that go on, by who called
    loaded = math.nan
    for line in trace.splitlines():
        row = _LINE.search(line)
        if row is None:
            continue
        task, at, event, text = row[1], float(row[2]) * 1000, row[3], row[4]
        if event == "insert":
            begun[task] = at
        elif event == "inserted":
            inserting.append((begun.pop(task), at))
        elif event == "module_load" and text.split(" ")[0] == kind.module and math.isnan(loaded):
            loaded = at
        uevent = _UEVENT.search(text)
        if uevent is None:
            continue
        if uevent[1] == "add":
            added.setdefault(uevent[2], at)
        elif uevent[1] == "bind" and uevent[3] in devpaths and added.get(uevent[3], math.inf) < loaded:
            since = added[uevent[3]]
            inserting += [(begin, math.inf) for begin in begun.values()]
            return Latency(loaded - since, at - since, covered(inserting, since, loaded))
    return None


def covered(spans: list[tuple[float, float]], since: float, until: float) -> float:
    """Return how much of the time from `since` to `until` the spans cover; udevd's workers insert at once."""
    total, reached = 0.0, since
    for begin, end in sorted(spans):
        total += max(0.0, min(end, until) - max(begin, reached))
        reached = max(reached, min(end, until))
    return total


def percentile(values: list[float], share: float) -> float:
    """Return the smallest value that at least this share of all does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def main() -> None:
    """Measure every way, print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kinds", type=int, default=1000, help="only the first so many")
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    options = parser.parse_args()
    kinds = (*PCI_EXPRESS, *USB, *SCSI)[: options.kinds]
    with tempfile.TemporaryDirectory() as temporary:
        built = {modprobe: build(Path(temporary) / modprobe.value, modprobe) for modprobe in Modprobe}
        found = {way: measure(built[WAYS[way][0]], way, WAYS[way][1], kinds) for way in options.ways}
    everywhere = [kind for kind in kinds if all(kind.device in latencies for latencies in found.values())]
    if not everywhere:
        sys.exit("no kind was measured")
    print_summary({way: [latencies[kind.device] for kind in everywhere] for way, latencies in found.items()})
    print_kinds(found, kinds)


def print_summary(found: dict[str, list[Latency]]) -> None:
    """Return a table of percentiles over the kinds that every way has a figure for."""
    print(f"\n{len(next(iter(found.values())))} kinds; p50, p90, p99 in ims\n")
    print("| | `add` to insertion | of it the loader's own | `add` to `bind` |\n|---|---|---|---|")
    for way, latencies in found.items():
        columns = (
            [each.load for each in latencies],
            [each.own for each in latencies],
            [each.bind for each in latencies],
        )
        cells = [", ".join(f"{percentile(values, share):.1f}" for share in SHARES) for values in columns]
        print(f"| {way} | {' | '.join(cells)} |")


def print_kinds(found: dict[str, dict[str, Latency]], kinds: tuple[Plug, ...]) -> None:
    """Return a row for each kind: insertion, the loader's own share of it, bind; a dash where there is no figure."""
    print(f"\n| | {' | '.join(found)} |\n|---|{'---|' * len(found)}")
    for kind in kinds:
        row = [latencies.get(kind.device) for latencies in found.values()]
        cells = ["-" if each is None else f"{each.load:.1f} ({each.own:.1f}) {each.bind:.1f}" for each in row]
        print(f"| {kind.device} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
