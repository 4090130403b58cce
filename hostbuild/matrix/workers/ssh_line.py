"""A connection by ssh to a computer, and the worker at its other end (ssh.py says what goes over it).

One that is lost is made anew, every half a minute, as long as the run goes on: the computer may come back.
"""

import contextlib
import os
import re
import secrets
import shlex
import socket
import tempfile
import threading
from collections.abc import Callable, Sequence

from hostbuild.errors import HostbuildError, UsageError
from hostbuild.matrix.workers.cluster import Own
from hostbuild.matrix.workers.remote import Order, parse_offer
from hostbuild.run import end_group, spawn, wait_for
from modaliasd import __version__

_MODULE = "hostbuild.matrix.workers.remote"
_START_S = 120.0  # until a worker has said what it offers
_END_S = 20.0  # for a worker to end its machines
_AGAIN_S = 30.0  # between connections
_FIRST_PORT, _PORTS = 20_000, 12_000  # there: below those that Linux gives by itself (ip_local_port_range)
_TRIES = 3  # a port that was free here may be taken there
_TAKEN = ("forwarding failed", "Could not request local forwarding", "in use")
_MOST_GREETING = 200  # lines that a login may print before the worker speaks
_MOST_WORDS = 1 << 16  # bytes of what ssh says
_OPTIONS = ("BatchMode=yes", "ExitOnForwardFailure=yes", "ServerAliveInterval=15", "ServerAliveCountMax=8")
# What is told besides the words of ssh, of the shell there, or of the worker.
_FIXES = (
    ("Host key verification failed", "its key is not known here: ssh {host} shows it, and asks"),
    ("Permission denied", "no password is asked for: it needs a key (ssh-copy-id {host})"),
    (
        "No module named|not installed",
        "install hostbuild with the extra matrix there, or name an interpreter that has it",
    ),
    ("No such file or directory|not found", "--ssh-python names the interpreter there that has hostbuild"),
    ("forwarding failed", "its sshd may forbid forwarding (AllowTcpForwarding)"),
)
Note = Callable[[str], None]


class Line:
    """A host, and its worker. trouble: why there was none at first, "" where there was."""

    def __init__(self, host: str, python: str, own: Own, note: Note) -> None:
        self.host = host
        self.trouble = "it was not started"
        self._python = python
        self._own = own
        self._note = note
        self._over = threading.Event()
        self._now: _Connection | None = None
        self._keeper = threading.Thread(target=self._keep, daemon=True)

    def start(self) -> None:
        """Start the worker, and wait until it says that it is there; from then on the connection is kept up."""
        self.trouble = self._connect()
        if not self.trouble:
            self._keeper.start()

    def end(self) -> None:
        """End the worker: its input ends, and then its machines and it do."""
        self._over.set()
        if (now := self._now) is not None:
            now.end()
        if self._keeper.is_alive():
            self._keeper.join()

    def _keep(self) -> None:
        """Wait for the connection to be lost, say so, and make another."""
        while (now := self._now) is not None:
            words = now.wait()
            if self._over.is_set():
                return
            now.end()
            self._note(f"{self.host} is lost{words and f' ({words})'}: what ran there is run elsewhere")
            while not self._over.wait(_AGAIN_S):
                if not self._connect():
                    self._note(f"{self.host} is back")
                    break

    def _connect(self) -> str:
        """Start the worker; return why that did not work, "" if it did."""
        trouble = ""
        for _ in range(_TRIES):
            if self._over.is_set():
                break
            try:
                trouble = self._try()
            except (HostbuildError, OSError) as e:
                trouble = str(e)
            if not any(words in trouble for words in _TAKEN):
                break
        fix = next((fix for pattern, fix in _FIXES if re.search(pattern, trouble)), "")
        return f"{trouble}; {fix.format(host=self.host)}" if fix else trouble

    def _try(self) -> str:
        """Try once, with ports of its own. Raises WorldError without ssh."""
        scheduler = int(self._own.cluster.scheduler_address.rpartition(":")[2])
        there, port = (_FIRST_PORT + 2 * secrets.randbelow(_PORTS // 2) + number for number in (0, 1))
        contact = _free_port()
        options = [word for option in _OPTIONS for word in ("-o", option)]
        options += ["-R", f"127.0.0.1:{there}:127.0.0.1:{scheduler}"]
        options += ["-L", f"127.0.0.1:{contact}:127.0.0.1:{port}"]
        command = f"{_there(self._python)} -m {_MODULE}"
        key, certificate = self._own.key.read_text(), self._own.certificate.read_text()
        order = Order(__version__, self.host, there, port, contact, key, certificate)
        now = self._now = _Connection(["ssh", "-T", *options, "--", self.host, command])
        if self._over.is_set():  # while it was made
            now.end()
        trouble = now.ask(order)
        if trouble:
            now.end()
        return trouble


class _Connection:
    """An ssh that runs: what is said to the worker, and what it, and ssh, say."""

    def __init__(self, argv: Sequence[str]) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the connection
        self._heard = 0
        self._ours, theirs = socket.socketpair()
        self._answers = self._ours.makefile("rb")
        with theirs:
            end = theirs.fileno()
            # A session of its own: a terminal's Ctrl-C is for this process, which ends the workers.
            self._process = spawn(argv, stdin=end, stdout=end, stderr=self._said, new_session=True)

    def ask(self, order: Order) -> str:
        """Hand over the order; return why there is no worker, "" where there is."""
        self._ours.settimeout(_START_S)
        trouble = "it says nothing"
        with contextlib.suppress(OSError):
            self._ours.sendall(order.line())
            for _ in range(_MOST_GREETING):
                line = self._answers.readline(1 << 16)
                if not line:
                    break
                try:
                    offer = parse_offer(line)
                except UsageError as e:  # a shell's greeting, maybe
                    trouble = str(e)
                    continue
                self._ours.settimeout(None)
                self._heard = os.fstat(self._said.fileno()).st_size
                return offer.trouble
        self.end()  # so that ssh has said all
        return self._words() or trouble

    def wait(self) -> str:
        """Wait for its end, whoever ends it; return what ssh said last."""
        with contextlib.suppress(OSError, ValueError):
            while self._answers.read(1 << 10):
                pass
        wait_for(self._process, _END_S)
        return self._words()

    def end(self) -> None:
        """End it. A second time does no harm, nor does another thread that waits."""
        with contextlib.suppress(OSError):
            self._ours.shutdown(socket.SHUT_RDWR)
        wait_for(self._process, _END_S)
        end_group(self._process)

    def _words(self) -> str:
        # Not by the file's own position, which is ssh's, too.
        text = os.pread(self._said.fileno(), _MOST_WORDS, self._heard).decode("utf-8", "replace")
        return "; ".join(line.strip() for line in text.strip().splitlines()[-3:])


def _there(path: str) -> str:
    """Return a path as a word for the shell there, which knows the home directories that ~ stands for."""
    home = re.match(r"~[\w.-]*/", path)
    return f"{home[0]}{shlex.quote(path[home.end() :])}" if home else shlex.quote(path)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port
