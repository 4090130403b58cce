"""docs/boot-matrix.md: Debian's stable, next and newest kernels on our machines, booted by `hostbuild matrix`.

make boot-matrix                      # all cells that have no result yet, then the page
make boot-matrix MATRIX="--again"     # with more of `hostbuild matrix`'s options
PYTHONPATH=. .venv/bin/python scripts/boot_matrix.py --page     # the page alone, of the results that are there
"""

import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hostbuild.arch import Arch
from hostbuild.formats.manifest import read_manifest
from hostbuild.ledger.file import read_history
from hostbuild.matrix.asked.cells import Cell, cells_of, expected_of
from hostbuild.matrix.asked.job import Job
from hostbuild.matrix.asked.spec import parse_spec
from hostbuild.matrix.prepare import make_plan
from hostbuild.matrix.results.store import LEDGER, Store
from hostbuild.matrix.results.verdict import Verdict, judge
from hostbuild.ui import Silent
from modaliasd import __version__
from modaliasd.core.ledger.history import History

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "benchmarks/boot-matrix.toml"
RESULTS = ROOT / "build/boot-matrix"
DOCUMENT = ROOT / "docs/boot-matrix.md"

HEAD = (
    "| kernel | machine | settled | with a modalias | matched | modules | failed | with a driver | without |"
)
_RULE = "|---|---|---|---:|---:|---:|---:|---:|---:|"
# What has a modalias and is never bound: input devices, CPUs, the machine itself (dmi), ACPI's companions of devices.
_UNBOUND = ("input", "cpu", "acpi", "dmi", "")
_ABOUT = """\
[boot-matrix.toml](../benchmarks/boot-matrix.toml) and writes this page; the machines are those of
[machines.md](machines.md), the image is make-image's default one, made for each kernel. How: [matrix.md](matrix.md)."""
_COUNTS = """\
The counts are those of the first settle. "With a driver" counts the kernel's own drivers, too; "without" are the
devices below: those with a modalias that nothing drives. Input devices, CPUs, the machine's own DMI device and ACPI's
companions of other devices are never driven, and are left out."""


@dataclass(frozen=True, slots=True)
class Booted:
    """A cell that was booted. stamp: of its result, seconds since 1970. trouble: what is not as it should be."""

    cell: Cell
    history: History
    manifest: Mapping[str, Any]
    stamp: float
    trouble: str = ""


def row(booted: Booted) -> str:
    """Return a cell's line of the table. The counts are those of the first settle."""
    _, arch, machine, _, _ = booted.cell.names
    settles = booted.history.settles
    counts = settles[0].fields if settles else {}
    shown = [str(counts.get(key, "")) for key in ("with_modalias", "matched", "loads", "failed", "bound")]
    settled = "yes" if settles else "**no**"
    if booted.trouble:
        settled += f": {booted.trouble}"
    version = booted.manifest["kernel"]["version"].removesuffix(f"-{arch}")
    shown.append(str(len(without_driver(booted.history))))
    return f"| {version} {arch} | `{machine}` | {settled} | {' | '.join(shown)} |"


def without_driver(history: History) -> list[tuple[str, str]]:
    """Return what could have a driver and has none: the device's modalias, and why, in the ledger's words."""
    found = []
    for device in history.devices.values():
        if not device.present or device.driver or not device.modalias or device.subsystem in _UNBOUND:
            continue
        modules = sorted({match.module + match.builtin * " (in the kernel)" for match in device.matches})
        if device.idle_drivers:
            why = f"{', '.join(device.idle_drivers)} did not take it"
        else:
            why = f"{', '.join(modules)} matches, and drives nothing" if modules else "no module matches"
        found.append((device.modalias, why))
    return found


def kernels(booted: Iterable[Booted]) -> Iterator[str]:
    """Yield a line for each kernel: its packages, and those of the guest's programs."""
    seen = set()
    for one in booted:
        name = one.cell.kernel.name
        if name in seen:
            continue
        seen.add(name)
        kernel = one.manifest["kernel"]
        package = kernel["package"]
        versions = {row["name"]: row["version"] for row in one.manifest["packages"]}
        python = next(name for name in versions if name.startswith("python3") and name.endswith("-minimal"))
        yield (
            f"| {name} | {package['name']} {package['version']} | busybox {versions['busybox-static']}, "
            f"{python} {versions[python]} |"
        )


def lacking(booted: Iterable[Booted]) -> Iterator[str]:
    """Yield a line for each kind of device that stayed without a driver: what, why, how many, where."""
    places: dict[tuple[str, str], dict[str, int]] = {}
    for one in booted:
        _, arch, machine, _, _ = one.cell.names
        version = one.manifest["kernel"]["version"].partition("+")[0].removesuffix(f"-{arch}")
        for modalias, why in without_driver(one.history):
            where = places.setdefault((modalias, why), {})
            place = f"{version} {arch} {machine}"
            where[place] = where.get(place, 0) + 1
    for (modalias, why), where in sorted(places.items(), key=lambda item: (-len(item[1]), item[0])):
        most = max(where.values())
        times = f"up to {most} a machine, " if most > 1 else ""
        shown = ", ".join(sorted(where)) if len(where) < 4 else f"{len(where)} cells"
        yield f"| `{modalias}` | {why} | {times}{shown} |"


def page(booted: Sequence[Booted], qemu: str) -> str:
    """Return the document."""
    day = time.strftime("%Y-%m-%d", time.gmtime(max(one.stamp for one in booted)))
    bad = sum(bool(one.trouble) or not one.history.settles for one in booted)
    said = (
        f"{len(booted)} cells, all as expected" if not bad else f"{len(booted)} cells, {bad} not as expected"
    )
    made = f"{said}. Booted on {day} with hostbuild {__version__}, {qemu}, under emulation. `make boot-matrix` boots"
    lines = ["# Debian's kernels on our machines", "", made, _ABOUT]
    lines += ["", "| | the kernel's package | in the guest |", "|---|---|---|", *kernels(booted)]
    lines += ["", _COUNTS, "", HEAD, _RULE, *map(row, booted)]
    lines += ["", "## Without a driver", "", "| device | what the ledger says | where |", "|---|---|---|"]
    return "\n".join([*lines, *lacking(booted), ""])


def read_booted() -> list[Booted]:
    """Read what the results' directory has of the matrix. Raises HostbuildError."""
    spec = parse_spec(FILE.read_text(), FILE)
    store = Store(RESULTS)
    found = []
    for planned in make_plan(spec, cells_of(spec), "", Silent()).planned:
        job, cell = planned.job, planned.cell
        result = store.find(job.key) if isinstance(job, Job) else None
        if not isinstance(job, Job) or result is None:
            sys.exit(f"{cell.name}: it has no result; make boot-matrix boots it")
        place = store.place(job.key)
        history = read_history(place / LEDGER)
        judged = judge(result, expected_of(spec, cell), history)
        trouble = "; ".join(judged.complaints) if judged.verdict is not Verdict.PASSED else ""
        stamp = (place / "result.json").stat().st_mtime
        found.append(Booted(cell, history, read_manifest(Path(job.parcel.path)), stamp, trouble))
    return found


def _qemu() -> str:
    argv = [Arch.AMD64.facts.qemu, "--version"]
    first = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.partition("\n")[0]
    return first.replace("emulator version ", "")


def main(arguments: list[str]) -> None:
    """Boot what has no result, and write the page."""
    if arguments != ["--page"]:
        argv = [sys.executable, "-m", "hostbuild", "matrix", str(FILE), "-o", str(RESULTS), *arguments]
        status = subprocess.run(argv, check=False).returncode
        if status not in (0, 1):
            sys.exit(status)
    DOCUMENT.write_text(page(read_booted(), _qemu()), encoding="utf-8")
    print(DOCUMENT)


if __name__ == "__main__":
    main(sys.argv[1:])
