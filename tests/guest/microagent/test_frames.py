"""microagent.frames: what is encoded is found again, whatever stands around it and however it is cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microagent.frames import LIMIT, MAGIC, Decoder, Frame, Kind, encode

frames = st.builds(Frame, st.sampled_from(list(Kind)), st.integers(0, 2**32 - 1), st.binary(max_size=200))
# No magic in it, and not its first byte at the end: what is told apart by the magic alone.
noise = st.binary(max_size=60).map(lambda data: data.replace(MAGIC[:1], b"x"))


def decode(pieces: list[bytes]) -> tuple[list[Frame], int]:
    """Feed the pieces; return the frames and the count of skipped bytes."""
    decoder = Decoder()
    found = [frame for piece in pieces for frame in decoder.feed(piece)]
    return found, decoder.skipped


@given(st.lists(frames, max_size=6), st.lists(st.integers(1, 50), max_size=40))
def test_frames_come_back_however_they_are_cut(sent: list[Frame], cuts: list[int]) -> None:
    """Any sequence of frames, cut anywhere, is the same sequence, and nothing is skipped."""
    data = b"".join(map(encode, sent))
    pieces = []
    for cut in cuts:
        pieces.append(data[:cut])
        data = data[cut:]
    assert decode([*pieces, data]) == (sent, 0)


@given(st.lists(st.tuples(noise, frames), max_size=5), noise)
def test_noise_is_passed_over_and_counted(sent: list[tuple[bytes, Frame]], rest: bytes) -> None:
    """What stands between frames changes none of them, and is counted to the byte."""
    data = b"".join(before + encode(frame) for before, frame in sent) + rest
    skipped = sum(len(before) for before, _ in sent) + len(rest)
    assert decode([data]) == ([frame for _, frame in sent], skipped)


@given(st.binary(max_size=400))
def test_anything_is_survived(data: bytes) -> None:
    """No bytes are an error, and a frame after them is found at the latest behind another one's length."""
    decoder = Decoder()
    decoder.feed(data)
    assert len(decoder._held) <= LIMIT + 64


@given(frames, st.data())
def test_a_changed_bit_makes_no_other_frame(frame: Frame, data: st.DataObject) -> None:
    """CRC-32 finds every error of a single bit, in the head as in the payload."""
    raw = bytearray(encode(frame))
    bit = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[bit // 8] ^= 1 << bit % 8
    assert decode([bytes(raw)])[0] == []


@given(frames, frames, st.integers(1, 12))
def test_a_torn_frame_does_not_hold_up_the_next(torn: Frame, next_one: Frame, kept: int) -> None:
    """Of a frame that breaks off within its head nothing is waited for: the one behind it arrives."""
    assert decode([encode(torn)[:kept] + encode(next_one) + b"\0" * 16])[0] == [next_one]


def test_a_payload_beyond_the_limit() -> None:
    """No frame is larger than its reader would take."""
    with pytest.raises(ValueError, match="a frame holds"):
        encode(Frame(Kind.STDIN, 1, bytes(LIMIT + 1)))
    assert decode([encode(Frame(Kind.STDIN, 1, bytes(LIMIT)))])[0][0].payload == bytes(LIMIT)
