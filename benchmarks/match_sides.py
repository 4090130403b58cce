"""The index and libkmod side by side, in a process of their own: bench_match.py runs it, by any release's CPython.

    PYTHONPATH=.:daemon python -m benchmarks.match_sides INDEX MODALIASES MODULES_DIR

It prints JSON: the interpreter's version, and a row for each bus and for all: name, how many were asked, how many
matched, and what `side_by_side` measures. Nothing but the standard library is imported.

Both are asked for the same strings one by one, in turns. A round asks them again and again until it has taken long
enough for the clock: a thread's CPU time is known to some microseconds only, and jumps when the thread changes its CPU,
so that the least of many short rounds is the clock's error. Each pair of rounds gives a ratio; their median counts.
"""

import json
import mmap
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from modaliasd.core.index.lookup import Index
from modaliasd.core.kmod.names import text_of
from tests.support.libkmod import Kmod

PAIRS = 21  # rounds of each
ROUND_S = 0.004  # that a round of the quicker one takes at least
LEAST = 5  # modaliases that a bus has, to have a row

# What asks, and what it is asked.
Asking = tuple[Callable[[Any], object], Sequence[object]]


class Compared(NamedTuple):
    """Seconds for a lookup of the one and of the other, the medians of all rounds.

    times: how many times as long the other takes, the median of the pairs' ratios. low, high: a tenth of the pairs is
    below, and above.
    """

    one: float
    other: float
    times: float
    low: float
    high: float


# A bus, how many strings it has, how many of them match, and the figures.
Row = tuple[str, int, int, Compared]


def round_time(asking: Asking, again: int = 1) -> float:
    """Seconds of thread CPU time for one lookup, in a round that asks for all strings `again` times."""
    ask, asked = asking
    start = time.thread_time_ns()
    for _ in range(again):
        for modalias in asked:
            ask(modalias)
    return (time.thread_time_ns() - start) / 1e9 / again / len(asked)


def side_by_side(one: Asking, other: Asking, pairs: int = PAIRS) -> Compared:
    """Compare two matchers whose rounds alternate."""
    quicker = min(round_time(asking, 3) for asking in (one, other))
    again = max(1, int(ROUND_S / (max(quicker, 1e-8) * len(one[1]))))
    rounds = [(round_time(one, again), round_time(other, again)) for _ in range(pairs)]
    ratios = sorted(theirs / ours for ours, theirs in rounds)
    tenth = len(ratios) // 10
    ours, theirs = (median(times) for times in zip(*rounds, strict=True))
    return Compared(ours, theirs, median(ratios), ratios[tenth], ratios[-1 - tenth])


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
            compared = side_by_side(by_text(index, strings), (kmod.lookup, strings))
            rows.append((bus, len(strings), matched, compared))
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
