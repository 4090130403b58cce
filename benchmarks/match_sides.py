"""The index and libkmod side by side, in a process of their own: bench_match.py runs it, by any release's CPython.

    PYTHONPATH=.:daemon python -m benchmarks.match_sides INDEX MODALIASES MODULES_DIR

It prints JSON: the interpreter's version, libkmod's, and a row for each bus and for all: name, how many were asked,
how many matched, seconds for one lookup of the index, and of libkmod. Nothing but the standard library is imported.
"""

import json
import mmap
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from modaliasd.core.index.lookup import Index
from modaliasd.core.kmod.names import text_of
from tests.support.libkmod import Kmod

ROUNDS = 7  # that a matcher has at least
ASKED = (
    100_000  # lookups that it does at least: fewer are over before the machine has a quiet moment for both
)
LEAST = 5  # modaliases that a bus has, to have a row
LOOKUPS = 1000  # that a round has at least

# What asks, and what it is asked.
Asking = tuple[Callable[[Any], object], Sequence[object]]
Row = tuple[str, int, int, float, float]


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
    """Return the least times of two matchers whose rounds alternate; a few strings are asked again and again."""
    again = max(1, LOOKUPS // len(one[1]))
    rounds = max(ROUNDS, ASKED // (again * len(one[1])))
    times = [(least_time(*one, again), least_time(*other, again)) for _ in range(rounds)]
    return min(first for first, _ in times), min(second for _, second in times)


def by_text(index: Index, asked: Sequence[bytes]) -> Asking:
    """Return the index and what it is asked: text, as sysfs hands it on, where libkmod takes bytes."""
    return index.lookup, [text_of(modalias) for modalias in asked]


def by_bus(asked: Sequence[bytes]) -> dict[str, list[bytes]]:
    """Return the modaliases of each bus."""
    buses: dict[str, list[bytes]] = {}
    for modalias in asked:
        buses.setdefault(text_of(modalias.partition(b":")[0]), []).append(modalias)
    return buses


def compare(index: Index, kmod: Kmod, asked: Sequence[bytes]) -> list[Row]:
    """Measure all, and each bus of which there are some, the largest first."""
    rows: list[Row] = []
    largest_first = sorted(by_bus(asked).items(), key=lambda item: -len(item[1]))
    for bus, strings in [("all", asked), *largest_first]:
        if len(strings) >= LEAST:
            matched = sum(bool(index.lookup(text_of(modalias))) for modalias in strings)
            times = side_by_side(by_text(index, strings), (kmod.lookup, strings))
            rows.append((bus, len(strings), matched, *times))
    return rows


def main() -> None:
    """Measure what the arguments name."""
    file, asked, folder = map(Path, sys.argv[1:])
    with file.open("rb") as stream:
        index = Index(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
    rows = compare(index, Kmod(folder), asked.read_bytes().splitlines())
    print(json.dumps({"python": sys.version.split()[0], "rows": rows}))


if __name__ == "__main__":
    main()
