"""Boot the same machine with one way of loading modules after the other, and compare: `make bench-boot`.

Every way gets the same kernel, the same modules and the same devices, in one image. The guest's time is counted
in instructions (QEMU's -icount shift=0,sleep=off, one a nanosecond: "ims" are a million of them), so that figures
repeat whatever else this machine does. The kernel's own tracer tells what happened when: exec of a program,
insertion of a module, the first block device, the first network interface.

    PYTHONPATH=. python benchmarks/bench_boot.py                    all ways, one CPU, by instructions
    PYTHONPATH=. python benchmarks/bench_boot.py --cpus 2 --runs 7  two CPUs, by the wall: medians of runs
    PYTHONPATH=. python benchmarks/bench_boot.py --ways modaliasd 'udevd, Debian'"'"'s rules' --keep DIR
    PYTHONPATH=. python benchmarks/bench_boot.py --ways modaliasd --python build    with an interpreter of our own
    PYTHONPATH=. python benchmarks/bench_boot.py --python build     with an interpreter of our own in place of Debian's
    PYTHONPATH=. python benchmarks/bench_boot.py --arch arm64       on QEMU's board, with Debian's programs of arm64

With more than one CPU, instructions are no clock (QEMU runs the CPUs in turns and counts them together), so the
wall is used there: take the medians of several runs, which alternate between the ways.
"""

import argparse
import json
import re
import shutil
import statistics
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.boot_chart import chart, table
from hostbuild.apt import Lists
from hostbuild.arch import Arch, foreign_name
from hostbuild.fs.files import check_output, write_file
from hostbuild.image.build import BuiltImage, ImageOptions, Modprobe, build_image
from hostbuild.pybuild.source import BuildSpec, parse_build
from hostbuild.qemu.boot import Boot
from hostbuild.qemu.machine import read_machine
from hostbuild.qemu.vm import VM
from tests.support.udevd import make_overlay

GUEST = Path(__file__).with_name("boot")
# Name, the file in boot/ways, whose modprobe.
WAYS = {
    "modaliasd": ("modaliasd", "busybox"),
    "modaliasd, kmod's modprobe": ("modaliasd", "kmod"),
    "udevd, its two loading rules": ("udevd-two", "kmod"),
    "udevd, Debian's rules": ("udevd", "kmod"),
    "mdev -d, $MODALIAS line": ("mdev", "busybox"),
    "mdev -s, $MODALIAS line": ("mdev-s", "busybox"),
    "find | sort -u | xargs modprobe -abq, twice": ("xargs-kmod", "kmod"),
    "find | sort -u | xargs -n1 modprobe -bq, twice": ("xargs-busybox", "busybox"),
    "one modprobe -ab of the right list": ("serial", "kmod"),
    "one modprobe a module, all at once": ("at-once", "kmod"),
}
LIMIT_S = 900.0
NEED_LIST = ("serial", "at-once")  # ways that know beforehand what to load, and in which order
FIGURES = (
    "settled",
    "complete",
    "overhead",
    "overhead_outside",
    "first_load",
    "disk",
    "nic",
    "first_modprobe",
)
_EVENT = re.compile(r"^\s*(.+)-(\d+)\s+\[(\d+)\]\s+\S+\s+(\d+\.\d+): (\w+): (.*)$")


@dataclass(frozen=True, slots=True)
class Event:
    """A line of the kernel's trace; ms: milliseconds of CLOCK_BOOTTIME."""

    task: str
    pid: int
    cpu: int
    ms: float
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Run:
    """What one boot gave. Times are milliseconds since the way's start, nan where it never happened."""

    way: str
    events: tuple[Event, ...]
    modules: tuple[str, ...]
    ledger: tuple[dict[str, object], ...]
    errors: str

    def mark(self, name: str) -> float:
        """Return the time of a marker, of the trace's clock."""
        return self._first("tracing_mark_write", lambda text: text.rstrip() == name)

    def since_begin(self, ms: float) -> float:
        """Return the same time counted from the way's start."""
        return ms - self.mark("begin")

    @property
    def settled(self) -> float:
        """When all was loaded: the daemon's own word, or the end of what waited for it."""
        for record in self.ledger:
            if record["type"] == "settled":
                assert isinstance(record["t_us"], int)
                return self.since_begin(record["t_us"] / 1000)
        return self.since_begin(self.mark("end"))

    @property
    def complete(self) -> float:
        """The last insertion."""
        loads = [event.ms for event in self.events if event.name == "module_load"]
        return self.since_begin(loads[-1]) if loads else float("nan")

    @property
    def overhead(self) -> float:
        """How long it takes to go through all devices again when there is nothing left to load."""
        walks = [r for r in self.ledger if r["type"] in ("walk", "settled")]
        if walks:
            start, end = walks[-2]["t_us"], walks[-1]["t_us"]
            assert isinstance(start, int)
            assert isinstance(end, int)
            return (end - start) / 1000
        return self.mark("again-end") - self.mark("again")

    @property
    def overhead_outside(self) -> float:
        """The same with the program that asks for it and waits."""
        return self.mark("again-end") - self.mark("again")

    @property
    def first_load(self) -> float:
        """The first module's insertion."""
        return self.since_begin(self._first("module_load", lambda _text: True))

    @property
    def first_modprobe(self) -> float:
        """From exec of the daemon to exec of its first modprobe."""
        start = self._first("sched_process_exec", lambda text: "modaliasd" in text)
        return self._first("sched_process_exec", lambda text: "modprobe" in text) - start

    @property
    def disk(self) -> float:
        """The virtio disk."""
        return self.since_begin(self._first("disk", lambda text: 'name="vd' in text))

    @property
    def nic(self) -> float:
        """The first network interface."""
        return self.since_begin(self._first("nic", lambda text: 'name="lo"' not in text))

    def _first(self, name: str, fits: "object") -> float:
        assert callable(fits)
        return next((e.ms for e in self.events if e.name == name and fits(e.text)), float("nan"))


def parse_trace(text: str) -> tuple[Event, ...]:
    """Read what tracefs shows as `trace`."""
    found = (_EVENT.match(line) for line in text.splitlines() if not line.startswith("#"))
    return tuple(
        Event(m[1], int(m[2]), int(m[3]), float(m[4]) * 1000, m[5], m[6]) for m in found if m is not None
    )


def build(
    directory: Path,
    modules: str,
    wanted: str,
    *,
    arch: Arch = Arch.AMD64,
    strip: bool = False,
    own: BuildSpec | None = None,
) -> BuiltImage:
    """Build the image with everything that the ways need. wanted: the list for those that know beforehand.

    strip: modules without signatures, BTF and debug sections. own: what the interpreter is built of; None: Debian's.
    """
    overlay = directory / "overlay"
    shutil.rmtree(overlay, ignore_errors=True)
    make_overlay(overlay, Lists(architecture=foreign_name(arch.value)))
    shutil.copy(GUEST / "init", overlay / "init")
    shutil.copytree(GUEST / "ways", overlay / "usr/lib/bench")
    (overlay / "usr/lib/bench/list").write_text(wanted)
    options = ImageOptions(
        arch=arch,
        kernel=f"deb:{arch.facts.kernel}",
        modules=modules,
        modprobe=Modprobe.KMOD,
        overlays=(overlay,),
        strip=strip,
        own=own,
    )
    return build_image(directory / "bench.img", options)


def boot_once(built: BuiltImage, way: str, *, machine_name: str, cpus: int, append: str = "") -> Run:
    """Boot and bring the figures back."""
    script, modprobe = WAYS[way]
    machine = replace(read_machine(machine_name).for_arch(built.kernel.arch), cpus=cpus)
    channel = machine.board.lines[0]
    words = f"quiet modaliasd.channel= bench.channel={channel} bench.way={script} bench.modprobe={modprobe} {append}"
    boot = Boot(
        built.kernel.vmlinuz, built.image, append=words, memory=2048, icount=cpus == 1, limit_s=LIMIT_S
    )
    with VM(machine, boot) as vm:
        vm.wait_for("bench", timeout=LIMIT_S)
        ledger = vm.check("cat /run/modaliasd/ledger.jsonl 2>/dev/null || true", timeout=120)
        return Run(
            way,
            parse_trace(vm.check("cat /sys/kernel/tracing/trace", timeout=300)),
            tuple(vm.check("cat /run/bench/modules-later").split()),
            tuple(json.loads(line) for line in ledger.splitlines()),
            vm.check("cat /run/bench/errors"),
        )


def main() -> None:
    """Boot every way, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--arch", type=Arch, choices=list(Arch), default=Arch.AMD64)
    parser.add_argument("--machine", help="[default: q35; virt-arm64, virt-riscv64 for others]")
    parser.add_argument("--cpus", type=int, default=1)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--modules", default="qemu")
    parser.add_argument("--append", default="")
    parser.add_argument("--strip", action="store_true", help="modules as make-image --strip makes them")
    parser.add_argument(
        "--python", type=parse_build, metavar="SPEC", help="as make-image --python has it: build"
    )
    parser.add_argument("--svg", type=Path, help="write the plot here")
    parser.add_argument("--keep", type=Path, help="keep the image and what the guests said here")
    options = parser.parse_args()
    arch = options.arch
    options.machine = options.machine or ("q35" if arch is Arch.AMD64 else f"virt-{arch}")
    if options.svg:
        check_output(options.svg, "the plot")  # before hours of boots
    with tempfile.TemporaryDirectory() as temporary:
        directory = options.keep or Path(temporary)
        directory.mkdir(exist_ok=True)
        image = {"arch": arch, "strip": options.strip, "own": options.python}
        built = build(directory, options.modules, "", **image)
        if any(WAYS[way][0] in NEED_LIST for way in options.ways):
            first = boot_once(built, "modaliasd", machine_name=options.machine, cpus=1)
            loads = [event.text.split()[0] for event in first.events if event.name == "module_load"]
            built = build(directory, options.modules, "\n".join(loads) + "\n", **image)
        runs: dict[str, list[Run]] = {way: [] for way in options.ways}
        for _ in range(options.runs):
            for way in options.ways:
                run = boot_once(
                    built, way, machine_name=options.machine, cpus=options.cpus, append=options.append
                )
                runs[way].append(run)
                print(progress(way, run), file=sys.stderr, flush=True)
                if options.keep:
                    (directory / f"{WAYS[way][0]}-{WAYS[way][1]}.json").write_text(
                        json.dumps({"ledger": run.ledger, "modules": run.modules, "errors": run.errors})
                    )
                    lines = [
                        f"{run.since_begin(e.ms):10.3f} {e.task}-{e.pid} [{e.cpu}] {e.name}: {e.text}"
                        for e in run.events
                    ]
                    (directory / f"{WAYS[way][0]}-{WAYS[way][1]}.trace").write_text("\n".join(lines))
        figures = {way: medians(runs[way]) for way in options.ways}
        print(table(figures, {way: len(runs[way][0].modules) for way in options.ways}))
        if options.svg:
            write_file(options.svg, chart(figures).encode(), "the plot")


def medians(runs: list[Run]) -> dict[str, float]:
    """Return the medians of the runs' figures."""
    return {name: statistics.median(getattr(run, name) for run in runs) for name in FIGURES}


def progress(way: str, run: Run) -> str:
    """One line for who waits."""
    return f"{way}: " + ", ".join(f"{name} {getattr(run, name):.0f}" for name in FIGURES)


if __name__ == "__main__":
    main()
