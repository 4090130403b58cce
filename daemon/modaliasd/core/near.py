"""Which known name somebody meant by one that is not known. Pure; imported only where something is wrong.

The distance is that of optimal string alignment: insertions, deletions, substitutions and swaps of two neighbours
each count one.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

LONGEST = 64  # characters; nobody mistypes a name longer than this, and the distance takes quadratic time


def nearest(word: str, names: Iterable[str]) -> str:
    """Return the name that `word` is most likely meant to be; "" where none is near.

    A name counts as near if at most a third of the word's characters differ (at least one may), or if it is the only
    name that begins with the word.
    """
    known = list(names)
    if not word or len(word) > LONGEST:
        return ""
    scored = sorted((distance(word, name), name) for name in known if len(name) <= LONGEST)
    if scored and scored[0][0] <= max(1, len(word) // 3):
        return scored[0][1]
    begun = [name for name in known if name.startswith(word) and word.strip("-")]
    return begun[0] if len(begun) == 1 else ""


def distance(first: str, second: str) -> int:
    """Return how many edits turn `first` into `second`."""
    before: list[int] = []
    row = list(range(len(second) + 1))
    for at, mine in enumerate(first, 1):
        older, before, row = before, row, [at]
        for to, theirs in enumerate(second, 1):
            cost = min(before[to] + 1, row[to - 1] + 1, before[to - 1] + (mine != theirs))
            if at > 1 and to > 1 and mine == second[to - 2] and first[at - 2] == theirs:
                cost = min(cost, older[to - 2] + 1)
            row.append(cost)
    return row[-1]


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """`; did you mean NAME?` as the end of a message; "" where no name is near."""
    name = nearest(word, names)
    return f"; did you mean `{name}`?" if name else ""
