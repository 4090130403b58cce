"""Compiled patterns against the C library's fnmatch, which is what kmod calls."""

import ctypes
import locale
import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from modaliasd.core.kmod.glob import PatternError, compile_pattern, is_wildcard, literal_length, matches

_fnmatch = ctypes.CDLL(None).fnmatch
_fnmatch.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int]


def fnmatch(pattern: bytes, text: bytes) -> bool:
    """fnmatch(3), no flags, in the C locale."""
    before = locale.setlocale(locale.LC_ALL)
    locale.setlocale(locale.LC_ALL, "C")
    try:
        return bool(_fnmatch(pattern, text, 0) == 0)
    finally:
        locale.setlocale(locale.LC_ALL, before)


PATTERN_BYTES = st.sampled_from([bytes([b]) for b in b"ab-]]![[^*?\\cab\xe9"])
TEXT_BYTES = st.sampled_from([bytes([b]) for b in b"ab-]![^*\\c\xe9"])


@given(st.lists(PATTERN_BYTES, max_size=9), st.lists(TEXT_BYTES, max_size=8))
def test_patterns_match_as_fnmatch_does(pattern: list[bytes], text: list[bytes]) -> None:
    """Every pattern that we accept, sets and escapes and broken brackets too, decides as the C library."""
    glob, string = b"".join(pattern), b"".join(text)
    assert compile_pattern(glob)(string, 0) == fnmatch(glob, string)


def test_many_random_patterns_match_as_fnmatch_does() -> None:
    """The same over 30,000 seeded pairs of strings that are more alike than Hypothesis's."""
    chance = random.Random(3)
    differences = []
    for _ in range(30_000):
        pattern = bytes(chance.choices(b"ab*?[]-!\\", k=chance.randrange(9)))
        text = bytes(chance.choices(b"ab-]", k=chance.randrange(7)))
        if compile_pattern(pattern)(text, 0) != fnmatch(pattern, text):
            differences.append((pattern, text))
    assert differences == []


def test_matching_starts_where_it_is_told() -> None:
    """What lies before the given place plays no part."""
    assert compile_pattern(b"b*d")(b"abcd", 1)
    assert not compile_pattern(b"a*d")(b"abcd", 1)


@pytest.mark.parametrize("pattern", [b"[[:alpha:]x]", b"[[=a=]]", b"[[.a.]-z]", b"[a-[.z.]]"])
def test_named_classes_are_refused(pattern: bytes) -> None:
    """What only the C library's tables could decide is an error, not a guess."""
    with pytest.raises(PatternError):
        compile_pattern(pattern)


def test_long_strings_are_matched_in_one_pass() -> None:
    """A pattern full of stars against 4,000 equal bytes ends, and quickly: nothing is tried twice."""
    assert not compile_pattern(b"*a" * 20 + b"*b")(b"a" * 4000, 0)


def test_literal_length() -> None:
    """The literal part ends at the first wildcard."""
    assert literal_length(b"pci:v*d") == 5
    assert literal_length(b"abc", 1) == 2


plain = st.text(alphabet="ab-_:*?!^", max_size=8) | st.sampled_from(("\\*", "\\?", "\\[", "\\\\", "\\a"))
sets = st.text(alphabet="abc-!^_*?", min_size=1, max_size=5).filter(lambda inside: inside not in ("!", "^"))
patterns = st.lists(plain | sets.map("[{}]".format), max_size=4).map("".join)


@given(patterns, st.text(alphabet="abc-_:*?!^\\[", max_size=8))
@example("*a*b", "xaxb")
@example("[!a-c]*", "d")
@example("kt_[", "kt_[")
def test_text_matches_as_fnmatch_does(pattern: str, text: str) -> None:
    """What modprobe.d's patterns are matched with decides as the C library, a byte at a time."""
    assert matches(pattern, text) == fnmatch(pattern.encode(), text.encode())


@given(st.text(alphabet="ab-_:", max_size=6), st.text(alphabet="ab-_:", max_size=6))
def test_plain_text_matches_itself_only(pattern: str, text: str) -> None:
    """What is no wildcard matches by equality, which lets callers look it up."""
    assert not is_wildcard(pattern)
    assert matches(pattern, text) == (pattern == text)


def test_a_refused_pattern_matches_nothing() -> None:
    """modprobe.d cannot hold one, and if it does, it does no harm."""
    assert not matches("[[:alpha:]]", "a")
