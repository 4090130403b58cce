"""microagent.messages: payloads say on one side what they said on the other, and nothing else is taken for one."""

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microagent import messages
from microagent.messages import Exit, MessageError, Refused, Size, Stage, Start

words = st.binary(max_size=20).map(lambda data: data.replace(b"\0", b""))
names = st.sampled_from([b"A", b"PATH", b"LC_ALL"])
sizes = st.builds(Size, st.integers(0, 65535), st.integers(0, 65535))
starts = st.builds(
    Start,
    st.tuples(words.filter(bool), words, words),
    words,
    st.lists(st.builds(lambda name, value: name + b"=" + value, names, words), max_size=3).map(tuple),
    st.none() | sizes,
)


@given(starts)
def test_a_request_comes_back(start: Start) -> None:
    """Words with any byte but NUL, empty ones too, a directory, an environment, a size: all are as they were."""
    assert messages.parse_start(messages.pack_start(start)) == start


@pytest.mark.parametrize("argv", [(), (b"",), (b"a\0b",)])
def test_requests_that_no_kernel_takes(argv: tuple[bytes, ...]) -> None:
    """No command, an empty name, a NUL byte: refused where they are made."""
    with pytest.raises(MessageError):
        messages.pack_start(Start(argv))


@pytest.mark.parametrize(
    "payload",
    [b"", b"\0", b"\0\0", b"\0\0\0", b"\0\0001\0A=b", b"\0\0002\0A=b\0cmd", b"\0\0x\0cmd", b"9 x\0\0000\0cmd",
     b"70000 1\0\0000\0cmd", b"\0\0001\0=b\0cmd", b"\0\0001\0A\0cmd", b"\0\0-1\0cmd"],
)  # fmt: skip
def test_damaged_requests(payload: bytes) -> None:
    """Counts that do not fit, pairs without a name, sizes that are none are refused by who reads them."""
    with pytest.raises(MessageError):
        messages.parse_start(payload)


PARSERS: list[Callable[[bytes], object]] = [
    messages.parse_start, messages.parse_size, messages.parse_refused, messages.parse_exit, messages.parse_number,
    messages.parse_signal, messages.parse_hello,
]  # fmt: skip


@given(st.sampled_from(PARSERS), st.binary(max_size=40))
def test_nothing_but_a_message_error(parse: Callable[[bytes], object], payload: bytes) -> None:
    """Any payload is a value or a MessageError."""
    with contextlib.suppress(MessageError):
        parse(payload)


@given(sizes, st.integers(0, 255), st.sampled_from(list(Stage)), st.integers(0, 2**40), st.integers(0, 2**40))
def test_the_others_come_back(size: Size, byte: int, stage: Stage, out: int, err: int) -> None:
    """Sizes, refusals, exits and numbers come back."""
    assert messages.parse_size(messages.pack_size(size)) == size
    assert messages.parse_refused(messages.pack_refused(Refused(stage, byte))) == Refused(stage, byte)
    ended = Exit(byte, 0, out, err)
    assert messages.parse_exit(messages.pack_exit(ended)) == ended
    assert messages.parse_number(messages.pack_number(byte)) == byte
