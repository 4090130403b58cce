"""Frames on the line between the agent and the host. Pure; both sides use this module.

    offset  bytes  what
    0       2      magic, A5 5C
    2       1      kind (Kind)
    3       4      number of the command that it is about, big-endian, given by the host; 0: the line itself
    7       4      length of the payload
    11      2      low half of the CRC-32 of bytes 2 to 10, so that a damaged length is not waited for
    13      n      payload
    13+n    4      CRC-32 of bytes 2 to the payload's end

Bytes that are no frame (what a program of the guest wrote to the line, what came before both ends listened) are passed
over and counted. That nothing in between was lost is told by the counts in EXIT.
"""

from __future__ import annotations

from binascii import crc32
from struct import Struct

from modaliasd.core.fasttypes import Enum, NamedTuple

MAGIC = b"\xa5\x5c"
LIMIT = 1 << 20  # bytes of a payload
PIECE = 4096  # bytes of data in one frame; others need not wait long for their turn

_HEAD = Struct(">BII")
_FIXED = 2 + _HEAD.size + 2
_CRC = 4


class Kind(Enum):
    """What a frame says, and who says it: H the host, A the agent."""

    HELLO = 1  # A: I am here, and know nothing of what was before; payload: Hello
    RECEIVED = 2  # A: so many bytes of the line, u32, since I last said so; number 0
    PING = 3  # H, number 0
    PONG = 4  # A, number 0
    START = 5  # H: run this; payload: Start
    STARTED = 6  # A: it runs; payload: its process id, u32
    REFUSED = 7  # A: it could not be started; payload: Refused. The last of its number
    STDIN = 8  # H: bytes for its standard input, as far as CREDIT goes
    STDIN_END = 9  # H: no more of them
    STDOUT = 10  # A: what it wrote, as far as CREDIT goes
    STDERR = 11  # A
    CREDIT = 12  # both: I have used so many bytes of what you sent of this number, u32
    SIGNAL = 13  # H: send this to its process group, u8
    SIZE = 14  # H: its terminal's rows and columns, u16 each
    EXIT = 15  # A: it ended; payload: Exit. The last of its number
    SERVE = (
        16  # H: serve the virtio port of this name, too. STARTED, and HELLO on the port, and EXIT; or REFUSED
    )
    # Between processes of hostbuild's, on the socket of a detached guest; no agent says or hears them.
    ASK = 32  # a request, JSON
    ANSWER = 33  # what became of it, JSON. The last of its number
    LOST = 34  # the agent that ran this went away; payload: the reason, UTF-8. The last of its number


class Frame(NamedTuple):
    """One frame."""

    kind: Kind
    number: int = 0
    payload: bytes = b""


def encode(frame: Frame) -> bytes:
    """Return the frame's bytes. ValueError where its payload is over LIMIT."""
    if len(frame.payload) > LIMIT:
        raise ValueError(f"a payload of {len(frame.payload)} bytes, and a frame holds {LIMIT}")
    head = _HEAD.pack(frame.kind.value, frame.number, len(frame.payload))
    check = crc32(head)
    body = head + (check & 0xFFFF).to_bytes(2, "big") + frame.payload
    return MAGIC + body + crc32(body).to_bytes(_CRC, "big")


class Decoder:
    """Finds the frames in what arrives. skipped: how many bytes were no part of one."""

    def __init__(self) -> None:
        self.skipped = 0
        self._held = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Take bytes and return the frames that they complete."""
        held = self._held
        held += data
        found = []
        at = 0
        while True:
            start = held.find(MAGIC, at)
            if start < 0:
                # the magic's first byte may have come, and its second not yet
                start = len(held) - 1 if held[at:] and held[-1] == MAGIC[0] else len(held)
            self.skipped += start - at
            at = start
            if len(held) - at < _FIXED:
                break
            frame, end = _frame_at(held, at)
            if end > len(held):
                break
            if frame is None:
                self.skipped += 1
                at += 1
                continue
            found.append(frame)
            at = end
        del held[:at]
        return found


def _frame_at(held: bytearray, at: int) -> tuple[Frame | None, int]:
    """Return the frame at `at`, None where there is none, and where it ends, which may be beyond what has come."""
    head = bytes(held[at + 2 : at + 2 + _HEAD.size])
    kind, number, length = _HEAD.unpack(head)
    check = int.from_bytes(held[at + _FIXED - 2 : at + _FIXED], "big")
    if length > LIMIT or check != crc32(head) & 0xFFFF:
        return None, at
    end = at + _FIXED + length + _CRC
    if end > len(held):
        return None, end
    body = bytes(held[at + 2 : end - _CRC])
    if crc32(body) != int.from_bytes(held[end - _CRC : end], "big"):
        return None, at
    try:
        return Frame(Kind(kind), number, body[_FIXED - 2 :]), end
    except ValueError:
        return None, at
