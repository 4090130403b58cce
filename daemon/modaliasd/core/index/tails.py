"""What patterns go on with behind a node of the index: tails, taken apart into literals to be found."""

from __future__ import annotations

from _struct import unpack

from modaliasd.core.kmod.glob import compile_pattern

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Callable

    Literals = tuple[tuple[str, int], ...]
    Rest = Callable[[str, int], bool]
    # A tail: (the rarest of its literals, the literals, what has to hold behind them if anything, its text).
    Tail = tuple[str, Literals, Rest | None, str]

RUN = 4  # single letters at a tail's end, as in `*k*r*a*m*l*s*f*w*`, which are looked for together first


def rarest_of(literals: list[str]) -> str:
    """Return the literal that fewest strings can be expected to have: the last of the longest."""
    return max(reversed(literals), key=len)


def _run_of(letters: list[str]) -> Rest:
    """Return what finds single letters one after the other: input's stand together where they have no numbers."""
    together = "".join(letters)

    def rest(string: str, at: int) -> bool:
        if string.find(together, at) >= 0:
            return True
        for letter in letters:
            at = string.find(letter, at) + 1
            if not at:
                return False
        return True

    return rest


def compile_tail(text: str) -> Tail:
    """Return what has to be found, in which order, and what has to hold behind it."""
    if text[:1] != "*" or "?" in text or "[" in text or "\\" in text:
        matches = compile_pattern(text.encode("latin-1"))
        return "", (), lambda string, at: matches(string.encode("latin-1"), at), text
    *literals, last = text.split("*")
    found = tuple([(literal, len(literal)) for literal in literals if literal])
    rarest = rarest_of([*literals, last])
    if not last:
        if len(found) > RUN and all(length == 1 for _, length in found[-RUN:]):
            return rarest, found[:-RUN], _run_of([literal for literal, _ in found[-RUN:]]), text
        return rarest, found, None, text
    return rarest, found, lambda string, at: string.endswith(last) and len(string) - len(last) >= at, text


def grams_of(raw: bytes) -> tuple[int, ...]:
    """Return all runs of four bytes, as words, and some more that straddle the ends."""
    padded = raw + bytes(6)
    size = len(raw) + 3 & ~3
    shifted = padded[:size] + padded[1 : size + 1] + padded[2 : size + 2] + padded[3 : size + 3]
    return unpack(f"={size}I", shifted)  # twice as fast as a memoryview's words are to iterate over
