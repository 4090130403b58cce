"""core/wildcard.py: fnmatch(3) for modprobe.d, with the C library's fnmatch as the oracle."""

import ctypes

from hypothesis import example, given
from hypothesis import strategies as st

from modaliasd.core.wildcard import is_wildcard, matches

LIBC = ctypes.CDLL(None)

plain = st.text(alphabet="ab-_:*?!^", max_size=8) | st.sampled_from(("\\*", "\\?", "\\[", "\\\\", "\\a"))
sets = st.text(alphabet="abc-!^_*?", min_size=1, max_size=5).filter(lambda inside: inside not in ("!", "^"))
patterns = st.lists(plain | sets.map("[{}]".format), max_size=4).map("".join)


@given(patterns, st.text(alphabet="abc-_:*?!^\\[", max_size=8))
@example("*a*b", "xaxb")
@example("[!a-c]*", "d")
@example("kt_[", "kt_[")
def test_as_the_c_library(pattern: str, text: str) -> None:
    """The C library's fnmatch with no flags gives the same answer."""
    assert matches(pattern, text) == (LIBC.fnmatch(pattern.encode(), text.encode(), 0) == 0)


@given(st.text(alphabet="ab-_:", max_size=6), st.text(alphabet="ab-_:", max_size=6))
def test_plain_text_matches_itself_only(pattern: str, text: str) -> None:
    """What is no wildcard matches by equality, which lets callers look it up."""
    assert not is_wildcard(pattern)
    assert matches(pattern, text) == (pattern == text)
