"""hostbuild.live.requests: what goes over a detached guest's socket is checked on both sides."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostbuild.errors import GuestTimeoutError, HostbuildError, InputError, UsageError
from hostbuild.live.requests import pack_answer, pack_error, pack_request, parse_answer, parse_request


def test_requests_come_back() -> None:
    """A request is its words."""
    assert parse_request(pack_request("plug", device="e1000,id=n1")) == ("plug", {"device": "e1000,id=n1"})
    assert parse_request(pack_request("stop")) == ("stop", {})


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b"null", b'{"ask": "dance"}', b'{"ask": "plug"}', b'{"ask": "plug", "device": 1}',
             b'{"ask": "stop", "now": "x"}', b'{"ask": ["plug"]}', b"\xff"],
)  # fmt: skip
def test_bad_requests(data: bytes) -> None:
    """Whatever else comes is refused in words."""
    with pytest.raises(UsageError):
        parse_request(data)


@pytest.mark.parametrize("kind", [InputError, UsageError, GuestTimeoutError])
def test_errors_come_back(kind: type[HostbuildError]) -> None:
    """An error arrives as what it was: its kind, and so its exit status, its words, its hint."""
    with pytest.raises(kind) as caught:
        parse_answer(pack_error(kind("what failed", hint="what fixes it")))
    assert (str(caught.value), caught.value.hint, type(caught.value)) == (
        "what failed",
        "what fixes it",
        kind,
    )


def test_answers_come_back() -> None:
    """An answer is its value."""
    assert parse_answer(pack_answer({"id": "n1"})) == {"id": "n1"}


@given(st.binary(max_size=50) | st.recursive(st.none() | st.text(), st.lists).map(repr).map(str.encode))
def test_any_answer(data: bytes) -> None:
    """Whatever comes is an answer or an error of ours."""
    try:
        parse_answer(data)
    except HostbuildError:
        return
