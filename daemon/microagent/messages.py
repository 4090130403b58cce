"""What the payloads of frames say, as values: packed on one side, checked on the other. Pure.

Words cannot hold a NUL byte (execve(2)), so lists of them are joined with it.
"""

from __future__ import annotations

from struct import Struct

from microagent import PROTOCOL
from modaliasd.core.fasttypes import Enum, NamedTuple

# Bytes that may be under way to the agent: a terminal's buffers hold 64 KiB (drivers/tty/tty_buffer.c).
LINE_WINDOW = 16384
INPUT_WINDOW = 32768  # bytes of a command's standard input that the agent holds
OUTPUT_WINDOW = 131072  # bytes of a command's output that may be under way: the host's pipe holds a megabyte

_SIZE = Struct(">HH")
_EXIT = Struct(">BBQQ")
_NUMBER = Struct(">I")


class MessageError(ValueError):
    """A payload is not of its kind's form."""


class Size(NamedTuple):
    """A terminal's size in characters."""

    rows: int
    columns: int


class Start(NamedTuple):
    """A command to run. size: it gets a terminal of this size, and no standard error of its own; None: pipes.

    directory: where it runs; b"" is the agent's choice. environment: added to the agent's own, as NAME=VALUE.
    """

    argv: tuple[bytes, ...]
    directory: bytes = b""
    environment: tuple[bytes, ...] = ()
    size: Size | None = None


class Stage(Enum):
    """What could not be done for a command."""

    DIRECTORY = "directory"
    PROGRAM = "program"
    PROCESS = "process"
    REQUEST = "request"
    PORT = "port"


class Refused(NamedTuple):
    """Why a command was not started: errno, and what it was about."""

    stage: Stage
    errno: int


class Exit(NamedTuple):
    """How a command ended: its status, or the signal that ended it, and how many bytes it wrote."""

    status: int
    signal: int
    stdout: int
    stderr: int


def pack_start(start: Start) -> bytes:
    """Return the payload. MessageError for what the guest's kernel could not take."""
    size = b"" if start.size is None else b"%d %d" % start.size
    head = [size, start.directory, b"%d" % len(start.environment)]
    words = [*head, *start.environment, *start.argv]
    if not start.argv or not start.argv[0]:
        raise MessageError("no command")
    if any(b"\0" in word for word in words):
        raise MessageError("a word with a NUL byte")
    return b"\0".join(words)


def parse_start(payload: bytes) -> Start:
    """Take the payload apart. MessageError."""
    if payload.count(b"\0") < 3:
        raise MessageError("no command")
    size, directory, count, *words = payload.split(b"\0")
    if not count.isdigit() or len(count) > 6 or int(count) >= len(words):
        raise MessageError("a count that does not fit")
    environment, argv = words[: int(count)], words[int(count) :]
    if not argv[0] or not all(b"=" in word[1:] for word in environment):
        raise MessageError("no command, or no environment")
    return Start(tuple(argv), directory, tuple(environment), _parse_size(size))


def _parse_size(text: bytes) -> Size | None:
    if not text:
        return None
    rows, _, columns = text.partition(b" ")
    if not (rows.isdigit() and columns.isdigit() and len(text) <= 11):
        raise MessageError("no size")
    return check_size(Size(int(rows), int(columns)))


def check_size(size: Size) -> Size:
    """Return the size, if a terminal can have it. MessageError."""
    if not (0 <= size.rows <= 0xFFFF and 0 <= size.columns <= 0xFFFF):
        raise MessageError("no terminal is so large")
    return size


def pack_size(size: Size) -> bytes:
    """Return the payload."""
    return _SIZE.pack(*check_size(size))


def parse_size(payload: bytes) -> Size:
    """Take the payload apart. MessageError."""
    if len(payload) != _SIZE.size:
        raise MessageError("no size")
    return Size(*_SIZE.unpack(payload))


def pack_refused(refused: Refused) -> bytes:
    """Return the payload."""
    return bytes([refused.errno & 0xFF]) + refused.stage.value.encode()


def parse_refused(payload: bytes) -> Refused:
    """Take the payload apart. MessageError."""
    try:
        return Refused(Stage(payload[1:].decode("ascii")), payload[0])
    except (ValueError, IndexError) as e:
        raise MessageError("no refusal") from e


def pack_exit(ended: Exit) -> bytes:
    """Return the payload."""
    return _EXIT.pack(*ended)


def parse_exit(payload: bytes) -> Exit:
    """Take the payload apart. MessageError."""
    if len(payload) != _EXIT.size:
        raise MessageError("no exit")
    return Exit(*_EXIT.unpack(payload))


def pack_number(number: int) -> bytes:
    """Return the payload of RECEIVED, STARTED and CREDIT."""
    return _NUMBER.pack(number)


def parse_number(payload: bytes) -> int:
    """Take the payload apart. MessageError."""
    if len(payload) != _NUMBER.size:
        raise MessageError("no number")
    return int(_NUMBER.unpack(payload)[0])


def parse_signal(payload: bytes) -> int:
    """Take the payload of SIGNAL apart. MessageError."""
    if len(payload) != 1 or not 1 <= payload[0] <= 64:
        raise MessageError("no signal")
    return payload[0]


def pack_hello() -> bytes:
    """Return the payload of HELLO: the protocol's number."""
    return bytes([PROTOCOL])


def parse_hello(payload: bytes) -> int:
    """Return the protocol that the agent speaks. MessageError."""
    if not payload:
        raise MessageError("no protocol")
    return payload[0]
