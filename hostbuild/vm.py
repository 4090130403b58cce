"""A running virtual machine: started, listened to, talked to, plugged into, and always gone at the end.

Three serial lines lead out of the guest, each a socket pair whose other end QEMU inherits, so that there is no
path to collide on and QEMU's end is seen as the end of the line:

    ttyS0  console: the kernel's messages and a shell, text for people
    ttyS1  channel: the ledger, JSON lines (docs/ledger.md)
    ttyS2  agent: a plain `sh` that reads commands and runs them (only where the guest is asked for it)

A fourth pair is QEMU's monitor (QMP). One thread reads the three lines and ends QEMU at the time limit.
"""

import contextlib
import os
import selectors
import shlex
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from hostbuild.accel import Accel
from hostbuild.errors import GuestError, GuestTimeoutError, WorldError
from hostbuild.machine import (
    BackendSpec,
    Bus,
    Device,
    Machine,
    MachineType,
    backend_commands,
    backend_removal,
    machine_argv,
    root_port_names,
    with_backend,
)
from hostbuild.qmp import CommandRefusedError, Monitor
from hostbuild.run import spawn
from hostbuild.transcript import LedgerReader, Record, clean, diagnose, panicked, restarted_on_purpose, tail

CHANNEL_APPEND = "console=ttyS0 panic=-1 modaliasd.channel=/dev/ttyS1"
AGENT_APPEND = "micro.agent=/dev/ttyS2"

_TICK_S = 0.25  # how often the reader looks at the clock while nothing comes
_PING_S = 0.5


@dataclass(frozen=True, slots=True)
class Completed:
    """A command that ran in the guest: its exit status and what it wrote, stderr included."""

    status: int
    output: str


@dataclass(frozen=True, slots=True)
class Boot:
    """What to boot and how; sizes of memory in MiB, times in seconds of wall time.

    limit_s: the machine's whole life; QEMU is ended then.
    """

    kernel: Path
    initrd: Path
    append: str = ""
    accel: Accel = Accel.TCG
    memory: int = 512
    icount: bool = False
    agent: bool = True
    limit_s: float = 120.0

    @property
    def command_line(self) -> str:
        """The kernel's command line: what the contract with the guest asks for, then the caller's."""
        words = [CHANNEL_APPEND, AGENT_APPEND if self.agent else "", self.append]
        return " ".join(word for word in words if word)


class VM:
    """A virtual machine as a context manager: running inside the `with`, gone after it.

    ledger: the records that came over the channel so far; it only grows.
    torn: the channel's lines that were no records.
    directory: private to this machine and removed with it; for disk images.
    """

    def __init__(
        self,
        machine: Machine,
        boot: Boot,
        *,
        on_console: Callable[[bytes], None] | None = None,
        on_ledger: Callable[[bytes], None] | None = None,
    ) -> None:
        """`on_console` and `on_ledger` are handed the lines' raw bytes as they come, in the reader's thread."""
        self.machine = machine
        self.boot = boot
        self.ledger: list[Record] = []
        self._reader = LedgerReader()
        self._console = bytearray()
        self._answers = bytearray()
        self._on_console = on_console
        self._on_ledger = on_ledger
        self._news = threading.Condition()
        self._ended = False
        self._over_limit = False
        self._agent_ready = False
        self._commands = 0
        self._plugged: dict[str, tuple[str | None, BackendSpec | None]] = {}
        self._plugs = 0
        self._cleanup = contextlib.ExitStack()

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._cleanup.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cleanup.close()

    # What the guest says

    @property
    def console(self) -> str:
        """The console's text so far, without escape sequences."""
        with self._news:
            return clean(bytes(self._console))

    @property
    def torn(self) -> list[bytes]:
        """The channel's lines that were no ledger records."""
        return self._reader.torn

    @property
    def running(self) -> bool:
        """Whether QEMU still runs."""
        return not self._ended

    def wait_for(self, wanted: str | Callable[[Record], bool], *, timeout: float = 60.0, since: int = 0) -> Record:
        """Return the first record from `ledger[since]` on that is of the type `wanted`, or for which it is true.

        Raises GuestTimeoutError after `timeout` seconds, GuestError as soon as the guest has ended without it.
        """
        what = f"a record of the type {wanted!r}" if isinstance(wanted, str) else "the record waited for"
        found: list[Record] = []

        def arrived() -> bool:
            nonlocal since
            new, since = self.ledger[since:], len(self.ledger)
            found.extend(r for r in new if (r["type"] == wanted if isinstance(wanted, str) else wanted(r)))
            return bool(found)

        self._wait(arrived, timeout, f"{what} did not come over the channel")
        return found[0]

    def settled(self, *, timeout: float = 90.0, since: int = 0) -> Record:
        """Wait for the daemon to say that everything there is has been dealt with."""
        return self.wait_for("settled", timeout=timeout, since=since)

    def wait_console(self, text: str, *, timeout: float = 60.0) -> None:
        """Wait until the console shows `text`."""
        self._wait(lambda: text in clean(bytes(self._console)), timeout, f"{text!r} did not show on the console")

    # What is said to the guest

    def type(self, data: bytes) -> None:
        """Type at the console."""
        _send(self._console_socket, data)

    def sh(self, command: str, *, timeout: float = 30.0) -> Completed:
        """Run a shell command in the guest and return its status and output.

        Each runs in a shell of its own with nothing on stdin, so that no command can derail the next one.
        """
        self._reach_agent()
        self._commands += 1
        tag = f"{os.getpid()}-{self._commands}"
        begin, end = f"<<{tag}<<".encode(), f">>{tag}>> ".encode()
        # The markers are written in two pieces: a line that echoed its input would not look like an answer.
        script = f"echo '<<''{tag}<<'; sh -c {shlex.quote(command)} </dev/null 2>&1; echo '>>''{tag}>>' $?\n"
        _send(self._agent_socket, script.encode("utf-8", "surrogateescape"))

        def answered() -> bool:
            at = self._answers.find(end)
            return at >= 0 and self._answers.find(b"\n", at) >= 0

        self._wait(answered, timeout, f"the guest did not finish the command {command!r}")
        with self._news:
            answer = bytes(self._answers)
            self._answers.clear()
        output, _, status = answer.partition(begin + b"\n")[2].partition(end)
        return Completed(int(status), output.decode("utf-8", "surrogateescape"))

    def check(self, command: str, *, timeout: float = 30.0) -> str:
        """Run a command as `sh` does and return its output. Raises GuestError if its status is not 0."""
        done = self.sh(command, timeout=timeout)
        if done.status != 0:
            raise GuestError(f"the guest's {command!r} ended with status {done.status}: {done.output.strip()}")
        return done.output

    def poweroff(self, *, timeout: float = 30.0) -> None:
        """Have the guest switch itself off, and wait for it."""
        self._reach_agent()
        _send(self._agent_socket, b"poweroff -f\n")
        self._wait(lambda: self._ended, timeout, "the guest did not switch itself off", ended_is_failure=False)

    # Hotplug

    @property
    def monitor(self) -> Monitor:
        """QEMU's monitor, for what has no method here."""
        return self._monitor

    def device_add(self, driver: str, *, id: str = "", bus: str = "", **props: str | int | bool) -> str:  # noqa: A002
        """Plug a device in while the guest runs and return its id; its backend is made as --device would.

        Without `bus`, a PCI device goes to the first free root port (machines with a PCIe root) or to QEMU's choice.
        `size` and `file` describe a disk. Raises CommandRefusedError.
        """
        self._plugs += 1
        device_id = id or f"hot{self._plugs}"
        text = {key: str(value) for key, value in props.items() if key in ("size", "file")}
        named = {key: str(value) for key, value in props.items() if key not in text}
        device, backend = with_backend(Device(driver).having(**text, **named), f"hotbackend{self._plugs}")
        port = bus or self._free_port(device)
        values: dict[str, object] = {key: props.get(key, value) for key, value in device.props}
        if port:
            values["bus"] = port
        for command, arguments in backend_commands(backend):
            self._monitor.execute(command, arguments)
        try:
            self._monitor.device_add(driver, device_id, values)
        except GuestError:
            self._remove_backend(backend)
            raise
        self._plugged[device_id] = (port or None, backend)
        return device_id

    def device_del(self, device_id: str, *, timeout: float = 30.0) -> None:
        """Unplug a device: ask the guest, wait until it has let it go, and take its backend away."""
        try:
            self._monitor.device_del(device_id, timeout=timeout)
        except GuestError as e:
            e.console = self.console
            raise
        _, backend = self._plugged.pop(device_id, (None, None))
        self._remove_backend(backend)

    # The end

    def wait(self, *, timeout: float | None = None) -> int:
        """Wait for the guest's end and return its exit status.

        The status is that of the ledger's `exit` record; 0 where the guest switched itself off without one.
        Raises GuestError for a panic or a guest that vanished, GuestTimeoutError at the time limit.
        """
        limit = self.boot.limit_s + 10 if timeout is None else timeout
        self._wait(lambda: self._ended, limit, "the guest did not end", ended_is_failure=False)
        return self._verdict()

    def kill(self) -> None:
        """End QEMU now."""
        with contextlib.suppress(ProcessLookupError):
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    # Inside

    def _start(self) -> None:
        stack = self._cleanup
        temporary = stack.enter_context(tempfile.TemporaryDirectory(prefix="hostbuild-vm-"))
        self.directory = Path(temporary)
        self._stderr = self.directory / "qemu.stderr"
        with contextlib.ExitStack() as theirs:
            pairs = [socket.socketpair() for _ in range(4)]
            for ours, other in pairs:
                stack.callback(ours.close)
                theirs.callback(other.close)
            self._console_socket, self._channel_socket, self._agent_socket, monitor_socket = (
                ours for ours, _ in pairs
            )
            fds = [other.fileno() for _, other in pairs]
            stderr = theirs.enter_context(self._stderr.open("wb"))
            # A session of its own: the terminal's Ctrl-C reaches us, and we end QEMU. And should we be killed
            # outright, the kernel kills QEMU (prctl(2), PR_SET_PDEATHSIG).
            argv = ["setpriv", "--pdeathsig", "KILL", "--", *self._argv(fds)]
            self._process = spawn(argv, stdout=stderr, stderr=stderr, pass_fds=fds, new_session=True)
            stack.callback(self.kill)
        try:
            self._monitor = Monitor(monitor_socket)
        except WorldError as e:
            raise WorldError(f"QEMU did not start: {self._last_words() or e}") from e
        stack.callback(self._monitor.close)
        reader = threading.Thread(target=self._read, name="serial lines", daemon=True)
        reader.start()
        stack.callback(reader.join, 10.0)
        stack.callback(self.kill)  # first of all: the reader ends with QEMU

    def _argv(self, fds: list[int]) -> list[str]:
        boot = self.boot
        argv = machine_argv(
            self.machine,
            accel=boot.accel.value,
            memory=boot.memory,
            kernel=str(boot.kernel),
            initrd=str(boot.initrd),
            append=boot.command_line,
            icount=boot.icount,
        )
        for name, fd in zip(("console", "channel", "agent"), fds, strict=False):
            argv += ["-chardev", f"socket,id={name},fd={fd}", "-serial", f"chardev:{name}"]
        return [*argv, "-chardev", f"socket,id=monitor,fd={fds[3]}", "-mon", "chardev=monitor,mode=control"]

    def _read(self) -> None:
        """Read the three lines until QEMU has closed them all; end QEMU at the time limit."""
        deadline = time.monotonic() + self.boot.limit_s
        takers = {
            self._console_socket: self._take_console,
            self._channel_socket: self._take_channel,
            self._agent_socket: self._take_answer,
        }
        with selectors.DefaultSelector() as selector:
            for line, take in takers.items():
                selector.register(line, selectors.EVENT_READ, take)
            while selector.get_map():
                for key, _ in selector.select(_TICK_S):
                    data = _receive(key.fileobj)
                    if data:
                        key.data(data)
                    else:
                        selector.unregister(key.fileobj)
                if time.monotonic() >= deadline and not self._over_limit:
                    self._over_limit = True
                    self.kill()
        self._process.wait()
        self._monitor.drain()
        with self._news:
            self._reader.finish()
            self._ended = True
            self._news.notify_all()

    def _take_console(self, data: bytes) -> None:
        with self._news:
            self._console += data
            self._news.notify_all()
        if self._on_console:
            self._on_console(data)

    def _take_channel(self, data: bytes) -> None:
        with self._news:
            self.ledger += self._reader.feed(data)
            self._news.notify_all()
        if self._on_ledger:
            self._on_ledger(data)

    def _take_answer(self, data: bytes) -> None:
        with self._news:
            self._answers += data
            self._news.notify_all()

    def _wait(
        self, done: Callable[[], bool], timeout: float, complaint: str, *, ended_is_failure: bool = True
    ) -> None:
        """Wait until `done`, which is called with the lock held.

        Raises GuestTimeoutError after `timeout` seconds; where the guest's end is a failure, raises that.
        """
        with self._news:
            self._news.wait_for(lambda: done() or self._ended, timeout)
            if done():
                return
        if self._ended and ended_is_failure:
            status = self._verdict()
            raise GuestError(
                f"{complaint}: the guest has ended (status {status})\n{tail(self.console)}", console=self.console
            )
        raise GuestTimeoutError(
            f"{complaint} within {timeout:g} s; the console's last lines:\n{tail(self.console)}",
            console=self.console,
        )

    def _verdict(self) -> int:
        """Return the ended guest's exit status, or raise what went wrong."""
        console = self.console
        for record in self.ledger:
            status = record.get("status")
            if record["type"] == "exit" and isinstance(status, int):
                return status
        reason = self._monitor.shutdown_reason()
        found = diagnose(console)
        if reason == "guest-shutdown" or (reason == "guest-reset" and restarted_on_purpose(console)):
            return 0
        last = f"; the console's last lines:\n{tail(console)}"
        if found and (reason or panicked(console)):
            raise GuestError(f"{found.reason} ({found.line}){last}", console=console, hint=found.mend)
        if self._over_limit:
            why = f" ({found.reason})" if found else ""
            raise GuestTimeoutError(
                f"the guest was still running after {self.boot.limit_s:g} s and was ended{why}{last}",
                console=console,
                hint=found.mend if found else "give it more time (--timeout)",
            )
        if reason == "guest-reset":
            raise GuestError(f"the guest reset itself without saying why{last}", console=console)
        words = self._last_words() or f"status {self._process.returncode}"
        raise GuestError(f"QEMU ended under the guest: {words}{last}", console=console)

    def _last_words(self) -> str:
        try:
            return tail(self._stderr.read_text("utf-8", "replace"), 6)
        except OSError:
            return ""

    def _reach_agent(self) -> None:
        """Wait until the guest's agent answers.

        What comes down a serial line before somebody holds it open is lost, in part or whole, so the question is
        short, harmless in any piece, and asked again until it is answered.
        """
        if self._agent_ready:
            return
        if not self.boot.agent:
            raise GuestError("this machine was started without an agent")
        deadline = time.monotonic() + self.boot.limit_s
        while time.monotonic() < deadline and not self._ended:
            _send(self._agent_socket, b"\necho rea''dy\n")
            with self._news:
                if self._news.wait_for(lambda: b"ready\n" in self._answers or self._ended, _PING_S):
                    break
        self._wait(lambda: b"ready\n" in self._answers, 1.0, "the guest's agent does not answer on ttyS2")
        self._agent_ready = True

    def _free_port(self, device: Device) -> str:
        if device.bus is not Bus.PCI or self.machine.type is not MachineType.Q35:
            return ""
        taken = {port for port, _ in self._plugged.values()} | {d.get("bus") for d in self.machine.devices}
        for port in root_port_names(self.machine):
            if port not in taken:
                return port
        raise GuestError(
            f"no free port for {device.driver}: the machine {self.machine.name} has {self.machine.root_ports}",
            hint="unplug a device first, or give the machine file more root_ports",
        )

    def _remove_backend(self, backend: BackendSpec | None) -> None:
        if backend is None:
            return
        command, arguments = backend_removal(backend)
        with contextlib.suppress(CommandRefusedError):  # a node can still be in use for a moment: it does no harm
            self._monitor.execute(command, arguments)


def _send(line: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):  # a guest that is gone is told by whoever waits for its answer
        line.sendall(data)


def _receive(line: object) -> bytes:
    assert isinstance(line, socket.socket)
    try:
        return line.recv(65536)
    except OSError:
        return b""
