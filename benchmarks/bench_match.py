"""Matching: this index against libkmod, a linear fnmatch and one regular expression a bus (`make
bench-match`).

Every matcher is asked for the same distinct modaliases of a seeded mix (or of --corpus FILE), one by one,
in one process, with no memory of former answers. Times are thread CPU time; rounds of the matchers alternate, and
the median of the pairs' ratios counts, so that other work on the machine counts little (match_sides.py). "first" is
the first round of a fresh index, in which it decodes what it passes. Opening, building and memory are measured in
processes of their own. --release compares with the libkmod of another Debian, under that one's CPython.
"""

import argparse
import fnmatch
import json
import mmap
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from benchmarks.match_sides import Compared, Row, by_bus, by_text, round_time, side_by_side
from hostbuild import debs
from hostbuild.apt import OWN, Lists, Spec
from hostbuild.formats import elf
from hostbuild.image.sources.cpython import require_interpreter
from hostbuild.kernels.kernel import require_kernel
from hostbuild.ui import Silent
from modaliasd.core.index.lookup import Index, build
from modaliasd.core.kmod.names import normalize_alias, text_of
from modaliasd.core.kmod.tables import Alias, parse_modules_alias
from tests.support.libkmod import Kmod
from tests.support.modaliases import machine_mix, widened

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("modules.alias", "modules.order", "modules.builtin.modinfo")
SLOW_SAMPLE = 12  # of every so many modaliases the slow matchers get one
OPENED = 15  # processes that open the index
MACHINE = 70  # modaliases, as many as a machine has


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


def opening_seconds(file: Path) -> float:
    """Return the thread CPU seconds that a fresh process takes to map the index and to open it, modules imported."""
    program = (
        "import sys, mmap, time\nfrom modaliasd.core.index.lookup import Index\nstart = time.thread_time()\n"
        "with open(sys.argv[1], 'rb') as file:\n"
        "    index = Index(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))\n"
        "print(time.thread_time() - start)\n"
    )
    command = [sys.executable, "-c", program, str(file)]
    runs = (subprocess.run(command, check=True, capture_output=True, text=True) for _ in range(OPENED))
    return median(float(run.stdout) for run in runs)


# What the daemon's start does of this: it imports, opens, and asks for what the machine has.
START_PROGRAM = """\
import gc, sys
gc.disable()
sys.path.insert(0, sys.argv[1])
import posix, mmap, modaliasd.core.index.lookup
if len(sys.argv) > 2:
    file = posix.open(sys.argv[2], posix.O_RDONLY)
    index = modaliasd.core.index.lookup.Index(mmap.mmap(file, 0, access=mmap.ACCESS_READ))
    for modalias in sys.argv[3:]:
        index.lookup(modalias)
"""


def instructions(*arguments: str | Path) -> int | None:
    """Instructions of START_PROGRAM in Debian's CPython; a million is a millisecond of guest time.

    Its hashes are the same in each run, and so are its instructions.
    """
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    command += ["/usr/bin/python3", "-B", "-S", "-s", "-P", "-c", START_PROGRAM, *map(str, arguments)]
    try:
        run = subprocess.run(command, check=True, capture_output=True, text=True, env={"PYTHONHASHSEED": "0"})
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None
    return next((int(line.split(":")[1]) for line in run.stderr.splitlines() if "Collected" in line), None)


def guest_time(scratch: Path, file: Path, asked: Sequence[bytes]) -> tuple[str, str]:
    """Say what opening the index takes in a guest, and what these lookups in it take, the first ones."""
    source = (
        scratch / "compiled"
    )  # by this very Python, which would else compile it in the first run, and count that
    shutil.copytree(ROOT / "daemon/modaliasd", source / "modaliasd")
    subprocess.run(["/usr/bin/python3", "-m", "compileall", "-q", source], check=True)
    texts = [text_of(modalias) for modalias in asked]
    base, opened, used = (instructions(source, *more) for more in ([], [file], [file, *texts]))
    if base is None or opened is None or used is None:
        return "valgrind is not there", "valgrind is not there"
    return f"{(opened - base) / 1e6:.2f} ms of guest time", f"{(used - opened) / 1e6:.2f} ms of guest time"


def sides(release: str, file: Path, asked: Path, folder: Path) -> tuple[str, list[Row]]:
    """Compare with the libkmod of a release of Debian, "" for this machine's; name both sides."""
    command: list[str | Path] = [sys.executable]
    name = "libkmod of this machine"
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'daemon'}"}
    if release:
        lists = Lists(release, "")
        interpreter = require_interpreter(Spec("python3", release=release))
        [package] = debs.describe(["libkmod2"], lists)
        [library] = debs.require_unpacked(package).glob("usr/lib/*/libkmod.so.2")
        dynamic = [path for root in interpreter.library for path in root.glob("lib-dynload/*ctypes*.so")]
        needed = elf.closure([interpreter.program, library, *dynamic], interpreter.libraries.find)
        directories = sorted({str(path.parent) for path in (library, *needed.values())})
        loader, option, _, program = interpreter.command
        command = [loader, option, ":".join(directories), program, "-B", "-S"]
        places = [str(place) for root in interpreter.library for place in (root, root / "lib-dynload")]
        environment["PYTHONPATH"] += "".join(f":{place}" for place in places)
        environment["PYTHONHOME"] = str(interpreter.home)
        name = f"{package}"
    command += ["-m", "benchmarks.match_sides", file, asked, folder]
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    told = json.loads(run.stdout)
    rows = [(bus, count, matched, Compared(*compared)) for bus, count, matched, compared in told["rows"]]
    return f"CPython {told['python']}, {name}", rows


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
    parser.add_argument("--release", default=OWN.release, help="Debian's, whose libkmod and CPython it is")
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
    corpus = cache / "asked"
    corpus.write_bytes(b"\n".join(asked))
    who, compared = sides(options.release, file, corpus, folder)
    rows = [
        (
            bus,
            str(count),
            str(matched),
            f"{1 / figures.one:,.0f}",
            f"{figures.one * 1e6:.1f}",
            f"{1 / figures.other:,.0f}",
            f"{figures.other * 1e6:.1f}",
            f"{figures.times:.2f}",
            f"{figures.low:.2f}-{figures.high:.2f}",
        )
        for bus, count, matched, figures in compared
    ]
    heads = ("bus", "asked", "matched", "index/s", "us", "libkmod/s", "us", "times", "of ten, eight are")
    console.print(f"{who}; medians of rounds")
    title = f"{len(aliases)} aliases, {len(asked)} modaliases over {len(by_bus(asked))} buses"
    show(console, title, heads, rows)
    if options.quick:
        return

    index, kmod = Index(mapped), Kmod(folder)
    first = round_time(by_text(Index(mapped), asked))
    mix = side_by_side(by_text(index, asked), (kmod.lookup, asked))
    sample = asked[::SLOW_SAMPLE]
    linear_time, regular_time = round_time((linear(aliases), sample)), round_time((regular(aliases), sample))
    wide_index = Index(build(widened(alias_text, 10), order, builtin))
    wide = side_by_side(by_text(index, asked), by_text(wide_index, asked))
    few = [strings[0] for strings in by_bus(asked).values()][:MACHINE]
    opened, used = guest_time(cache, file, few)
    mapping = (
        "file = open(sys.argv[1], 'rb'); index = Index(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))"
    )
    asking = "\nfor line in open(sys.argv[2], 'rb').read().split(b'\\n'): {}"
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
            ("index, a lookup of the mix", f"{mix.one * 1e6:.1f} us; first round {first * 1e6:.1f} us"),
            ("libkmod through ctypes", f"{mix.other * 1e6:.1f} us, {mix.times:.2f} times"),
            ("linear fnmatch", f"{linear_time * 1e6:,.0f} us, {linear_time / mix.one:,.0f} times"),
            (
                "one regular expression a bus",
                f"{regular_time * 1e6:,.0f} us, {regular_time / mix.one:,.0f} times",
            ),
            ("a table ten times as long", f"{wide.other * 1e6:.1f} us, {wide.times:.2f} times"),
            ("opening the index in a fresh process", f"{opening_seconds(file) * 1e6:.0f} us; {opened}"),
            (f"first lookups of {len(few)} buses, one each", used),
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
