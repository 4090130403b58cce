"""Patterns compiled once and matched as kmod has the C library do it: fnmatch(3), no flags, C locale.

`*` stands for any bytes, `?` for one byte, `[a-f0-9]` and `[!a-f]` or `[^a-f]` for one byte of a set, `\\x`
for x. A set closes at the first `]` that is not its first member; a set that never closes is a plain `[`; a
range runs over byte values and is empty when it runs backwards; a backslash at the very end matches
nothing. Named classes (`[:alpha:]`, `[=a=]`, `[.a.]`) do not occur in aliases, since kmod's own bracket
rule breaks them: they are refused.

A pattern is cut at its stars into segments of fixed length. The first is anchored at the start, the last at
the end, each one between is taken at its first place after the one before: for patterns without
alternatives that greedy choice never loses a match, so that nothing is ever tried twice.

`fnmatch` of the standard library compiles to `re`, which the boot path does not import, and differs: it knows no
backslash and no `[^a]`.
"""

from __future__ import annotations

from modaliasd.core.errors import FormatError

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Callable

    # One byte's place in a segment: the bytes that may stand there, None for any.
    Place = frozenset[int] | None
    Segment = tuple[Place, ...]
    # (text, where to start) -> does the text from there on match the pattern?
    Matcher = Callable[[bytes, int], bool]

STAR, QUESTION, BRACKET, BACKSLASH = b"*?[\\"


_matchers: dict[str, Matcher] = {}  # of the patterns that `matches` was asked for: those of modprobe.d


class PatternError(FormatError):
    """A pattern that nobody can match exactly as kmod would."""


def literal_length(pattern: bytes, start: int = 0) -> int:
    """Return the number of bytes from `start` to the first wildcard or to the end."""
    end = len(pattern)
    for wildcard in (b"*", b"?", b"["):
        place = pattern.find(wildcard, start, end)
        if place >= 0:
            end = place
    return end - start


def parse_set(pattern: bytes, opening: int) -> tuple[frozenset[int] | None, int]:
    """Parse the set that opens at pattern[opening]; return it and the place after it. Raises PatternError.

    A `[` that never closes is a plain one: None, and the place after the bracket.
    """
    end = len(pattern)
    at = opening + 1
    negated = pattern[at : at + 1] in (b"!", b"^")
    at += negated
    members: set[int] = set()
    first = True
    while True:
        if at >= end:
            return None, opening + 1
        low = pattern[at]
        at += 1
        if low == ord("]") and not first:
            break
        first = False
        if low == BRACKET and pattern[at : at + 1] in (b":", b"=", b"."):
            raise PatternError(f"{pattern!r}: named classes are not supported")
        if low == BACKSLASH:
            if at >= end:
                return frozenset(), end
            low = pattern[at]
            at += 1
        if pattern[at : at + 1] == b"-" and pattern[at + 1 : at + 2] not in (b"", b"]"):
            high = pattern[at + 1]
            at += 2
            if high == BRACKET and pattern[at : at + 1] == b".":
                raise PatternError(f"{pattern!r}: named classes are not supported")
            if high == BACKSLASH:
                if at >= end:
                    return frozenset(), end
                high = pattern[at]
                at += 1
            members.update(range(low, high + 1))
            continue
        members.add(low)
    if negated:
        return frozenset(range(256)) - members, at
    return frozenset(members), at


def parse_pattern(pattern: bytes) -> list[Segment]:
    """Split the pattern into segments, one more than it has stars. Raises PatternError."""
    segments: list[Segment] = []
    places: list[Place] = []
    at = 0
    while at < len(pattern):
        byte = pattern[at]
        at += 1
        if byte == STAR:
            segments.append(tuple(places))
            places = []
        elif byte == QUESTION:
            places.append(None)
        elif byte == BRACKET:
            allowed, at = parse_set(pattern, at - 1)
            places.append(frozenset((BRACKET,)) if allowed is None else allowed)
        elif byte == BACKSLASH:
            places.append(frozenset(pattern[at : at + 1]))
            at += 1
        else:
            places.append(frozenset((byte,)))
    segments.append(tuple(places))
    return segments


def _stands_at(segment: Segment, text: bytes, at: int) -> bool:
    return all(allowed is None or text[at + i] in allowed for i, allowed in enumerate(segment))


def compile_pattern(pattern: bytes) -> Matcher:
    """Return a function that tells whether a text matches the pattern from a given place on. Raises PatternError."""
    head, *rest = parse_pattern(pattern)
    if not rest:

        def matches_whole(text: bytes, start: int) -> bool:
            return len(text) - start == len(head) and _stands_at(head, text, start)

        return matches_whole
    middle, tail = [segment for segment in rest[:-1] if segment], rest[-1]

    def matches(text: bytes, start: int) -> bool:
        last = len(text) - len(tail)
        at = start + len(head)
        if at > last or not _stands_at(head, text, start):
            return False
        for segment in middle:
            while at + len(segment) <= last and not _stands_at(segment, text, at):
                at += 1
            at += len(segment)
            if at > last:
                return False
        return _stands_at(tail, text, last)

    return matches


def is_wildcard(pattern: str) -> bool:
    """Return whether the pattern can match anything but its own text."""
    return "*" in pattern or "?" in pattern or "[" in pattern or "\\" in pattern


def matches(pattern: str, text: str) -> bool:
    """Return whether the whole text matches the pattern; a refused pattern matches nothing. For a few patterns."""
    matcher = _matchers.get(pattern)
    if matcher is None:
        try:
            matcher = compile_pattern(pattern.encode("utf-8", "surrogateescape"))
        except PatternError:
            matcher = _never
        _matchers[pattern] = matcher
    return matcher(text.encode("utf-8", "surrogateescape"), 0)


def _never(_text: bytes, _start: int) -> bool:
    return False
