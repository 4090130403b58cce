"""The daemon, as the process that looks for the root file system knows it: requests and answers (linux/control.py)."""

from __future__ import annotations

import posix
from _json import make_scanner  # json itself takes 18 ms of guest time to import

from modaliasd.core.errors import WorldError
from modaliasd.core.root.wire import quoted
from modaliasd.linux.control import ask
from modaliasd.linux.paths import CONTROL, MODULES
from modaliasd.linux.root.blockdev import read_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as RawSocket
    from typing import Any

ROOM = 3500  # characters of a request (linux/control.py, REQUEST_LIMIT)
LONGEST_DETAIL = 900  # a cut %XX stays as it is


class _Plain:
    """What the scanner asks of a decoder."""

    strict = True
    object_hook = object_pairs_hook = None
    parse_float, parse_int = float, int
    parse_constant = str
    memo: dict[str, str] = {}  # noqa: RUF012 - the scanner's own


_scan = make_scanner(_Plain())  # type: ignore[arg-type]


class Daemon:
    """first: a connection that is there already; later requests go by the socket in /run. None: by that alone."""

    def __init__(self, first: RawSocket | None = None) -> None:
        self._first = first

    def ask(self, *words: str) -> dict[str, Any]:
        """Return the answer. Raises WorldError where the daemon is gone, or refuses."""
        if self._first is not None:
            line, self._first = _exchange(self._first, " ".join(words)), None
        else:
            line = ask(CONTROL, list(words), None)
        answer: dict[str, Any] = _scan(line, 0)[0]
        if not answer.get("ok"):
            raise WorldError(f"the daemon refused `{words[0]}`: {answer.get('error', '')}")
        return answer

    def need(self, module: str) -> str:
        """Have it load a module, unless that is there or built in; why it is not, "" where it is."""
        place = f"/sys/module/{module}"
        if posix.access(place, posix.F_OK):
            return ""
        try:
            self.ask("need", module)
        except WorldError as e:
            return str(e)
        if posix.access(place, posix.F_OK) or _is_built_in(module):
            return ""
        return f"its module {module} could not be loaded"

    def tell(
        self, outcome: str, details: tuple[str, ...] = (), *, leave: bool = False, **fields: str
    ) -> None:
        """Have the ledger say what has become of the root file system. leave: that is the daemon's last task."""
        line = ""
        for detail in details:
            word = quoted(detail)[:LONGEST_DETAIL]
            if len(line) + len(word) > ROOM:
                self.ask("root-details", *line.split())
                line = ""
            line += f" {word}"
        if line:
            self.ask("root-details", *line.split())
        words = [f"{key}={quoted(value)[:LONGEST_DETAIL]}" for key, value in fields.items() if value]
        self.ask("root", f"outcome={outcome}", *words, *(["then=leave"] if leave else []))


class NoDaemon(Daemon):
    """In a boot with modaliasd.off: nothing is ever on its way, and nobody writes anything down."""

    def ask(self, *_words: str) -> dict[str, Any]:
        """Answer as a daemon that has settled."""
        return {"ok": True, "seen": 0, "devices": [], "settled": True}


def _is_built_in(module: str) -> bool:
    """Most of what is built in has no place in /sys/module: only what has parameters, or a version."""
    listed = read_text(f"{MODULES}/{posix.uname().release}/modules.builtin", 1 << 20)
    return f"/{module}.ko" in listed.replace("-", "_")


def _exchange(socket: RawSocket, request: str) -> str:
    socket.sendall(request.encode("utf-8", "surrogateescape") + b"\n")
    chunks: list[bytes] = []
    while chunk := socket.recv(65536):
        chunks.append(chunk)
    socket.close()
    if not chunks:
        raise WorldError("the daemon has ended; its own line in the kernel's log says why")
    return b"".join(chunks).decode("ascii").rstrip("\n")
