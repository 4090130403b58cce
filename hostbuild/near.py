"""Words that somebody typed and nobody knows: the known ones that are near them. Pure."""

import difflib
from collections.abc import Iterable

_CUTOFF = 0.6  # of difflib's ratio: make-imag, e1001 and vritio_net find theirs, foo finds nothing


def near(word: str, known: Iterable[str], count: int = 3) -> list[str]:
    """Return the known words that are most like `word`, the likeliest first and each once.

    Case counts for nothing, and neither does the difference between `-` and `_`.
    """
    by_plain: dict[str, str] = {}
    for one in known:
        by_plain.setdefault(_plain(one), one)
    found = difflib.get_close_matches(_plain(word), by_plain, n=count, cutoff=_CUTOFF)
    return [by_plain[plain] for plain in found]


def did_you_mean(word: str, known: Iterable[str], count: int = 3) -> str:
    """Give the question after a message, `; did you mean X, Y or Z?`; "" where nothing is near."""
    found = near(word, known, count)
    return f"; did you mean {listed(found, 'or')}?" if found else ""


def listed(words: Iterable[str], joint: str = "and") -> str:
    """Write words as a list in a sentence: A, B and C."""
    *most, last = words
    return f"{', '.join(most)} {joint} {last}" if most else last


def _plain(word: str) -> str:
    return word.lower().replace("-", "_")
