"""Matching: this index against libkmod, a linear fnmatch and one regular expression a bus (`make
bench-match`).

Every matcher is asked for the same distinct modaliases of a seeded mix (or of --corpus FILE), one by one,
in one process, with no memory of former answers. Times are the least thread CPU time of several rounds, so
that other work on the machine counts little; rounds of the matchers alternate. "first" is the first round
of a fresh index, in which it decodes what it passes. Opening, building and memory are measured in processes
of their own.
"""

import argparse
import fnmatch
import mmap
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from hostbuild.kernels.kernel import require_kernel
from hostbuild.ui import Silent
from modaliasd.core.index.lookup import Index, build
from modaliasd.core.kmod.names import normalize_alias, text_of
from modaliasd.core.kmod.tables import Alias, parse_modules_alias
from tests.support.libkmod import Kmod
from tests.support.modaliases import machine_mix, widened

# What asks, and what it is asked.
Asking = tuple[Callable[[Any], object], Sequence[object]]
SOURCES = ("modules.alias", "modules.order", "modules.builtin.modinfo")
ROUNDS = 7
SLOW_SAMPLE = 12  # of every so many modaliases the slow matchers get one


def least_time(ask: Callable[[Any], object], asked: Sequence[object], rounds: int = 1) -> float:
    """Seconds of thread CPU time for one lookup."""
    best = float("inf")
    for _ in range(rounds):
        start = time.thread_time_ns()
        for modalias in asked:
            ask(modalias)
        best = min(best, (time.thread_time_ns() - start) / 1e9 / len(asked))
    return best


def side_by_side(one: Asking, other: Asking) -> tuple[float, float]:
    """Return the least times of two matchers whose rounds alternate."""
    times = [(least_time(*one), least_time(*other)) for _ in range(ROUNDS)]
    return min(first for first, _ in times), min(second for _, second in times)


def by_text(index: Index, asked: list[bytes]) -> Asking:
    """Return the index and what it is asked: text, as sysfs hands it on, where libkmod takes bytes."""
    return index.lookup, [text_of(modalias) for modalias in asked]


def linear(aliases: list[Alias]) -> Callable[[bytes], object]:
    """Return the standard library's fnmatch over the whole table."""
    table = [(text_of(normalize_alias(alias.pattern)), alias.module) for alias in aliases]

    def ask(modalias: bytes) -> object:
        text = text_of(modalias).replace("-", "_")
        return [module for pattern, module in table if fnmatch.fnmatchcase(text, pattern)]

    return ask


def regular(aliases: list[Alias]) -> Callable[[bytes], object]:
    """One regular expression a bus, an alternative a pattern: it tells whether anything matches, not what."""
    by_bus: dict[str, list[str]] = {}
    for alias in aliases:
        pattern = text_of(normalize_alias(alias.pattern))
        bus = pattern.partition(":")[0].rstrip("*")
        by_bus.setdefault(bus, []).append(fnmatch.translate(pattern))
    compiled = {bus: re.compile("|".join(patterns)) for bus, patterns in by_bus.items()}

    def ask(modalias: bytes) -> object:
        text = text_of(modalias).replace("-", "_")
        found = compiled.get(text.partition(":")[0])
        return found.match(text) if found else None

    return ask


def resident_kib(setup: str, *arguments: str | Path) -> int:
    """Return how much more memory a fresh process has after `setup`; arguments become sys.argv[1:]."""
    program = (
        "import sys\n"
        "def resident():\n"
        "    return int(open('/proc/self/smaps_rollup').read().split('Rss:')[1].split()[0])\n"
        "from modaliasd.core.index.lookup import Index\nfrom tests.support.libkmod import Kmod\n"
        "import mmap, fnmatch, re, pathlib\nbefore = resident()\n"
        f"{setup}\nprint(resident() - before)\n"
    )
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def instructions(program: str, *arguments: str | Path) -> int | None:
    """Instructions of a program in Debian's CPython; a million is a millisecond of guest time."""
    command = [
        "valgrind",
        "--tool=callgrind",
        "--callgrind-out-file=/dev/null",
        "/usr/bin/python3.11",
        "-I",
        "-S",
    ]
    try:
        run = subprocess.run(
            [*command, "-c", program, *map(str, arguments)], check=True, capture_output=True, text=True
        )
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None
    return next((int(line.split(":")[1]) for line in run.stderr.splitlines() if "Collected" in line), None)


OPEN_PROGRAM = """\
import sys
sys.path.insert(0, sys.argv[1])
import posix, mmap, modaliasd.core.index.lookup
if len(sys.argv) > 2:
    file = posix.open(sys.argv[2], posix.O_RDONLY)
    modaliasd.core.index.lookup.Index(mmap.mmap(file, 0, access=mmap.ACCESS_READ))
"""


def show(console: Console, title: str, heads: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Return a table, the first column to the left, the others to the right."""
    table = Table(title=title, title_justify="left")
    for number, head in enumerate(heads):
        table.add_column(head, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="bench-match-") as scratch:
        measure(scratch)


def measure(scratch: str) -> None:
    """Return the same, with files of its own in the directory `scratch`."""
    parser = argparse.ArgumentParser(description="Measure matching")
    parser.add_argument("--modules-dir", type=Path, help="default: Debian's kernel")
    parser.add_argument("--corpus", type=Path, help="modaliases, one a line, in place of the mix")
    parser.add_argument("--count", type=int, default=6000)
    parser.add_argument("--quick", action="store_true", help="only the comparison with libkmod")
    options = parser.parse_args()
    folder = options.modules_dir or require_kernel("deb:linux-image-amd64", None, Silent()).indexes
    assert folder is not None, "Debian's kernel has modules"
    console = Console(width=110)
    alias_text, order, builtin = ((folder / name).read_bytes() for name in SOURCES)
    aliases, _ = parse_modules_alias(alias_text)
    asked = machine_mix([alias.pattern for alias in aliases], options.count, 1)
    if options.corpus:
        asked = list(dict.fromkeys(options.corpus.read_bytes().splitlines()))

    start = time.thread_time()
    data = build(alias_text, order, builtin)
    build_seconds = time.thread_time() - start
    cache = Path(scratch)
    file = cache / "modules.alias.trie"
    file.write_bytes(data)
    with file.open("rb") as stream:
        mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    index, kmod = Index(mapped), Kmod(folder)
    first = least_time(*by_text(Index(mapped), asked))

    buses: dict[str, list[bytes]] = {}
    for modalias in asked:
        buses.setdefault(text_of(modalias.partition(b":")[0]), []).append(modalias)
    rows = []
    for bus, strings in [("all", asked), *sorted(buses.items(), key=lambda item: -len(item[1]))]:
        if len(strings) < 5:
            continue
        matched = sum(bool(index.lookup(text_of(modalias))) for modalias in strings)
        trie_time, kmod_time = side_by_side(by_text(index, strings), (kmod.lookup, strings))
        rows.append(
            (
                bus,
                str(len(strings)),
                str(matched),
                f"{1 / trie_time:,.0f}",
                f"{trie_time * 1e6:.1f}",
                f"{1 / kmod_time:,.0f}",
                f"{kmod_time * 1e6:.1f}",
                f"{kmod_time / trie_time:.2f}",
            )
        )
    heads = ("bus", "asked", "matched", "index/s", "us", "libkmod/s", "us", "times")
    console.print(f"CPython {sys.version.split()[0]}, {sys.executable}; times of several rounds, the least")
    show(console, f"{len(aliases)} aliases, {len(asked)} modaliases over {len(buses)} buses", heads, rows)
    if options.quick:
        return

    all_time = side_by_side(by_text(index, asked), (kmod.lookup, asked))
    sample = asked[::SLOW_SAMPLE]
    linear_time, regular_time = least_time(linear(aliases), sample), least_time(regular(aliases), sample)
    wide_index = Index(build(widened(alias_text, 10), order, builtin))
    wide = side_by_side(by_text(wide_index, asked), by_text(index, asked))
    open_seconds = least_time(lambda _: Index(mapped), [b""] * 200)
    source = Path(__file__).resolve().parent.parent / "daemon"
    base, opened = instructions(OPEN_PROGRAM, source), instructions(OPEN_PROGRAM, source, file)
    guest = f"{(opened - base) / 1e6:.2f} ms of guest time" if base and opened else "valgrind is not there"
    mapping = (
        "file = open(sys.argv[1], 'rb'); index = Index(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))"
    )
    asking = "\nfor line in open(sys.argv[2], 'rb').read().split(b'\\n'): {}"
    corpus = cache / "asked"
    corpus.write_bytes(b"\n".join(asked))
    lookup = asking.format("index.lookup(line.decode('utf-8', 'surrogateescape'))")
    kmod_lookup = asking.format("kmod.lookup(line)")
    opened_kib = resident_kib(mapping, file)
    used_kib = resident_kib(f"{mapping}{lookup}", file, corpus)
    kmod_kib = resident_kib("kmod = Kmod(pathlib.Path(sys.argv[1]))", folder)
    kmod_used_kib = resident_kib(f"kmod = Kmod(pathlib.Path(sys.argv[1])){kmod_lookup}", folder, corpus)
    show(
        console,
        "the same in other ways",
        ("what", "figure"),
        (
            ("index, a lookup of the mix", f"{all_time[0] * 1e6:.1f} us; first round {first * 1e6:.1f} us"),
            ("libkmod through ctypes", f"{all_time[1] * 1e6:.1f} us, {all_time[1] / all_time[0]:.2f} times"),
            ("linear fnmatch", f"{linear_time * 1e6:,.0f} us, {linear_time / all_time[0]:,.0f} times"),
            (
                "one regular expression a bus",
                f"{regular_time * 1e6:,.0f} us, {regular_time / all_time[0]:,.0f} times",
            ),
            ("a table ten times as long", f"{wide[0] * 1e6:.1f} us, {wide[0] / wide[1]:.2f} times"),
            ("opening the index", f"{open_seconds * 1e6:.0f} us; {guest}"),
            ("building it from text", f"{build_seconds:.2f} s"),
            (
                "its size",
                f"{len(data):,} bytes; modules.alias.bin {(folder / 'modules.alias.bin').stat().st_size:,}",
            ),
            ("resident after opening", f"index {opened_kib} KiB, libkmod {kmod_kib} KiB"),
            ("resident after all lookups", f"index {used_kib} KiB, libkmod {kmod_used_kib} KiB"),
        ),
    )


if __name__ == "__main__":
    main()
