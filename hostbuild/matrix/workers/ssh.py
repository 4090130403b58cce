"""Workers on other computers, started by this machine's ssh, which carries all that they and the scheduler say.

    ssh -R A:127.0.0.1:SCHEDULER -L B:127.0.0.1:WORKER HOST python3 -m hostbuild.matrix.workers.remote

Nothing listens on a network: the scheduler is on this machine's loopback, a worker on its own, and each finds the other
at its own 127.0.0.1. The run's key (cluster.py) goes over the line, so that other users of either machine are
kept out, too. Names, users, keys, jumps: as ~/.ssh/config has them. A worker ends with its connection.
"""

import contextlib
import re
import secrets
import shlex
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import IO, TYPE_CHECKING

from hostbuild.errors import UsageError, WorldError
from hostbuild.matrix.workers.cluster import Own, opened_cluster
from hostbuild.matrix.workers.remote import Order, parse_offer
from hostbuild.run import end_group, spawn, wait_for
from modaliasd import __version__

if TYPE_CHECKING:
    from distributed import Client

PYTHON = "python3"
_MODULE = "hostbuild.matrix.workers.remote"
_HOST = re.compile(r"(?!-)[^\s\0]+")
_START_S = 120.0  # until a worker has said what it offers
_END_S = 20.0  # for a worker to end its machines
_FIRST_PORT, _PORTS = 20_000, 12_000  # there: below those that Linux gives by itself (ip_local_port_range)
_TRIES = 3  # a port that was free here may be taken there
_TAKEN = ("forwarding failed", "Could not request local forwarding", "in use")
_OPTIONS = ("BatchMode=yes", "ExitOnForwardFailure=yes", "ServerAliveInterval=15", "ServerAliveCountMax=8")
Note = Callable[[str], None]


def check_host(host: str) -> str:
    """Return a host as ssh takes it. Raises UsageError for what would be an option, or is no word."""
    if not _HOST.fullmatch(host):
        raise UsageError(
            f"--ssh {host!r} is not a host", hint="--ssh HOST, --ssh USER@HOST, or a name of ~/.ssh/config"
        )
    return host


@contextlib.contextmanager
def ssh_cluster(hosts: Sequence[str], python: str, note: Note) -> Iterator["Client"]:
    """Start a scheduler here and a worker on each host, as many guests as it has CPUs. They end with the block.

    python: the interpreter there that has hostbuild and dask. note: is told of hosts that are left out.
    Raises WorldError where none is left, ToolMissingError without ssh or openssl.
    """
    from distributed import Client

    with opened_cluster(0, 0) as own, contextlib.ExitStack() as stack:
        lines = [_Line(host, python, own) for host in hosts]
        for line in lines:
            stack.callback(line.end)
        starts = [threading.Thread(target=line.start) for line in lines]
        for one in starts:
            one.start()
        for one in starts:
            one.join()
        bad = [f"{line.host}: {line.trouble}" for line in lines if line.trouble]
        if len(bad) == len(lines):
            raise WorldError(
                f"no worker could be started by ssh: {'; '.join(bad)}",
                hint=f"ssh {shlex.quote(hosts[0])} {python} -c 'import hostbuild, distributed' has to work, without a "
                "password (--ssh-python names another interpreter)",
            )
        for words in bad:
            note(f"a computer is left out: {words}")
        address = own.cluster.scheduler_address
        client = Client(address, security=own.security, set_as_default=False)
        yield stack.enter_context(contextlib.closing(client))


class _Line:
    """A connection to a host, and the worker at its other end. trouble: why there is none, "" where there is."""

    def __init__(self, host: str, python: str, own: Own) -> None:
        self.host = host
        self.trouble = "it was not started"
        self._python = python
        self._own = own
        self._end: Callable[[], None] = _nothing

    def start(self) -> None:
        """Start the worker, and wait until it says that it is there."""
        for _ in range(_TRIES):
            self.end()
            try:
                again = self._try()
            except (WorldError, UsageError, OSError) as e:
                self.trouble, again = str(e), False
            if not again:
                return

    def end(self) -> None:
        """End the worker: its input ends, and then its machines and it do."""
        self._end()
        self._end = _nothing

    def _try(self) -> bool:
        """Try once; return whether it is to be tried again, with other ports."""
        scheduler = int(self._own.cluster.scheduler_address.rpartition(":")[2])
        there, port = (_FIRST_PORT + 2 * secrets.randbelow(_PORTS // 2) + number for number in (0, 1))
        contact = _free_port()
        options = [word for option in _OPTIONS for word in ("-o", option)]
        options += ["-R", f"127.0.0.1:{there}:127.0.0.1:{scheduler}"]
        options += ["-L", f"127.0.0.1:{contact}:127.0.0.1:{port}"]
        command = shlex.join([self._python, "-m", _MODULE])
        order = Order(
            __version__, there, port, contact, self._own.key.read_text(), self._own.certificate.read_text()
        )
        with tempfile.TemporaryFile() as said:
            line = self._ask(["ssh", "-T", *options, "--", self.host, command], order, said)
            try:
                self.trouble = parse_offer(line).trouble
            except UsageError as e:
                self.end()
                self.trouble = _tail(said) or str(e)
        return any(words in self.trouble for words in _TAKEN)

    def _ask(self, argv: list[str], order: Order, said: IO[bytes]) -> bytes:
        """Start ssh, hand over the order, and return the answer: b"" where none came in time."""
        ours, theirs = socket.socketpair()
        with theirs:
            end = theirs.fileno()
            # A session of its own: a terminal's Ctrl-C is for this process, which ends the workers.
            process = spawn(argv, stdin=end, stdout=end, stderr=said, new_session=True)

        def stop() -> None:
            ours.close()
            wait_for(process, _END_S)
            end_group(process)

        self._end = stop
        ours.settimeout(_START_S)
        try:
            ours.sendall(order.line())
            with ours.makefile("rb") as lines:
                return lines.readline(1 << 16)
        except OSError:
            return b""


def _nothing() -> None:
    """End nothing: there is nothing."""


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def _tail(said: IO[bytes]) -> str:
    said.seek(0)
    lines = said.read().decode("utf-8", "replace").strip().splitlines()
    return "; ".join(line.strip() for line in lines[-3:])
