"""Standard output and standard error of a command: their failures in words, their characters in any encoding.

A full disk behind `>` is an error that names standard output; a reader that has gone away (`| head -1`) ends the
command in silence. A character that the terminal's encoding lacks becomes one that it has, or an escape.
"""

import codecs
import contextlib
import io
import os
import sys
from typing import TYPE_CHECKING, TextIO

from hostbuild.errors import ClosedPipeError, HostbuildError, WorldError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

# Our own characters, drawn with ASCII's
_PLAIN = {
    "├": "|",
    "└": "`",
    "│": "|",
    "─": "-",
    "…": "...",
    "✕": "x",
    "→": "->",
    "×": "x",
    "µ": "u",
    "–": "-",
}


class _Guarded(io.FileIO):
    """A descriptor whose failures are errors of ours, so that nobody on the way takes them for something else."""

    def write(self, data: "ReadableBuffer", /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            raise ClosedPipeError from None
        except OSError as e:
            raise WorldError(f"cannot write to standard output: {e.strerror}") from e


def guard() -> None:
    """Put guarded streams in the places of sys.stdout and sys.stderr; called once, at the start of the process."""
    for fd, flags in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(fd)
        except OSError:
            # Closed: what is opened next would get its number, and our output. Reading and writing it still fail.
            os.open(os.devnull, flags)
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    codecs.register_error("hostbuild", _replace)
    sys.stdout = _text(_Guarded(1, "w", closefd=False), encoding)
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False, encoding=encoding, errors="backslashreplace")  # noqa: SIM115


def leave() -> None:
    """Write what is still buffered, if it can be; the interpreter would complain in its own way as it ends."""
    for stream, fd in ((sys.stdout, 1), (sys.stderr, 2)):
        with contextlib.suppress(HostbuildError, OSError, ValueError):
            stream.flush()
        # What could not be written stays in the buffer, and Python 3.13 ends with 120 where it cannot go out at last.
        with contextlib.suppress(OSError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, fd)
            os.close(null)


def _text(raw: io.FileIO, encoding: str) -> TextIO:
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding=encoding, errors="hostbuild", line_buffering=raw.isatty()
    )


def _replace(error: UnicodeError) -> tuple[str, int]:
    """Handle encoding errors for codecs: bytes of a file name that are no text as \\xNN, the rest as it can be."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    out = []
    for character in error.object[error.start : error.end]:
        code = ord(character)
        if 0xDC80 <= code <= 0xDCFF:
            out.append(f"\\x{code - 0xDC00:02x}")
        else:
            out.append(_PLAIN.get(character) or character.encode("ascii", "backslashreplace").decode("ascii"))
    return "".join(out), error.end
