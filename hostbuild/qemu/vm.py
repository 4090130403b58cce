"""A running virtual machine: started, listened to, talked to, plugged into, and always gone at the end.

with VM(read_machine("q35"), Boot(kernel, image)) as vm:
    vm.settled()
    nic = vm.device_add("e1000")
    assert "e1000" in vm.check("cat /proc/modules")
"""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from hostbuild.errors import GuestError, GuestTimeoutError, WorldError
from hostbuild.fs.scratch import scratch_directory
from hostbuild.guest.agent import ENDED, Agent
from hostbuild.guest.command import CommandLostError, Completed, request, run_to_end
from hostbuild.guest.far_end import FarEnd
from hostbuild.guest.port import serve_port
from hostbuild.ledger.stream import Record
from hostbuild.qemu.boot import Boot
from hostbuild.qemu.catalog import refusal
from hostbuild.qemu.exit_status import Ending, clock_rate, judge
from hostbuild.qemu.hotplug import Ports
from hostbuild.qemu.lines import Line, Listener, SerialLines, port_device
from hostbuild.qemu.machine import Machine
from hostbuild.qemu.monitor import Monitor
from hostbuild.qemu.outside import beside_qemu
from hostbuild.qemu.transcript import diagnose, tail
from hostbuild.run import require_program, spawn
from microagent import PORT
from microagent.messages import LINE_WINDOW, Start
from modaliasd.core.ledger.read import Skipped

__all__ = ["VM", "Completed"]


class VM:
    """A virtual machine as a context manager: running inside the `with`, gone after it.

    directory: private to this machine, and removed with it; for disk images.
    """

    directory: Path
    monitor: Monitor

    def __init__(
        self, machine: Machine, boot: Boot, *, listeners: dict[Line, Listener] | None = None
    ) -> None:
        """Take listeners, which are handed a serial line's raw bytes as they come, in the thread that reads them."""
        self.machine = machine
        self.boot = boot
        self._lines = SerialLines(listeners or {})
        self._over_limit = False
        self._far_end = FarEnd(
            send=lambda data: self._lines.send(Line.AGENT, data),
            wait=self._lines.wait,
            require=self._wait,
            running=lambda: self.running,
        )
        self._port = Agent(lambda data: self._lines.send(Line.PORT, data), window=LINE_WINDOW)
        self._lines.hear(Line.AGENT, self._far_end.hear)
        self._lines.hear(Line.PORT, self._port.feed)
        self._taking = threading.Lock()
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
        return self._lines.console

    @property
    def ledger(self) -> list[Record]:
        """The records that came over the channel so far; the list only grows."""
        return self._lines.ledger

    def clock_rate(self) -> float | None:
        """Return how fast the guest's clock ran by the host's, where that is beyond doubt wrong (exit_status.py)."""
        return None if self.boot.icount else clock_rate(self.ledger, self._lines.arrivals)

    @property
    def skipped(self) -> Skipped:
        """The channel's lines that were no records."""
        return self._lines.skipped

    @property
    def _has_port(self) -> bool:
        return self.boot.agent and self.machine.takes_port

    @property
    def running(self) -> bool:
        """Whether QEMU still runs."""
        return not self._lines.ended

    def wait_for(
        self, wanted: str | Callable[[Record], bool], *, timeout: float = 60.0, since: int = 0
    ) -> Record:
        """Return the first record from `ledger[since]` on of the type `wanted`, or for which it is true.

        Raises GuestTimeoutError after `timeout` seconds, GuestError once the guest has ended without it.
        """
        what = f"a record of the type {wanted!r}" if isinstance(wanted, str) else "the record waited for"
        seen = since
        found: list[Record] = []

        def arrived() -> bool:
            nonlocal seen
            new, seen = self.ledger[seen:], max(seen, len(self.ledger))
            found.extend(r for r in new if (r["type"] == wanted if isinstance(wanted, str) else wanted(r)))
            return bool(found)

        self._wait(arrived, timeout, f"{what} did not come over the channel")
        return found[0]

    def settled(self, *, timeout: float = 90.0, since: int = 0) -> Record:
        """Wait for the daemon to say that everything there is has been dealt with."""
        return self.wait_for("settled", timeout=timeout, since=since)

    @property
    def pid(self) -> int:
        """QEMU's process id."""
        return self._process.pid

    # What is said to the guest

    def type(self, data: bytes) -> None:
        """Type at the console."""
        self._lines.send(Line.CONSOLE, data)

    def run(
        self,
        argv: Sequence[str],
        *,
        input: bytes = b"",  # noqa: A002 - as subprocess.run has it
        timeout: float = 60.0,
        directory: str = "",
        environment: Iterable[str] = (),
    ) -> Completed:
        """Run a command in the guest, without a shell, and return its status and both outputs, byte by byte.

        directory: where it runs; "" is the guest's /root. environment: NAME=VALUE, added to the guest's own.
        A command that cannot be started has a shell's status, 127 or 126, and the reason on its standard error.
        Raises GuestTimeoutError where it runs on after `timeout` seconds (it is killed), GuestError where the guest
        ends, or has no agent.
        """
        start = request(argv, directory=directory, environment=environment)
        return self._run(start, " ".join(argv), input, timeout)

    def sh(self, command: str, *, timeout: float = 30.0) -> Completed:
        """Run a shell command in the guest and return its status and output, standard error included.

        Each runs in a shell of its own with nothing on stdin. Also guests without an agent, that have a shell on its
        line, run it (hostbuild.guest.shell).
        """
        self._reach_far_end()
        if self._far_end.agent.ready:
            # A shell that reads the command anew: its complaints about the command's form come along.
            start = request(["sh", "-c", 'exec sh -c "$1" 2>&1', "sh", command])
            return self._run(start, command, b"", timeout)
        try:
            return self._far_end.shell.run(command, timeout)
        except GuestError as e:
            e.console = self.console
            raise

    def agent(self, *, timeout: float | None = None) -> Agent:
        """Wait for the guest's agent, within the boot's own time limit, and return the host's end of it.

        It is the one on the virtio port where that is served (take_port), else the one on the serial line.
        Raises GuestError where the image has none.
        """
        line = self.line_agent(timeout=timeout)
        return self._port if self._port.usable else line

    def line_agent(self, *, timeout: float | None = None) -> Agent:
        """Do the same for the one on the serial line, whether or not there is a port."""
        self._reach_far_end(timeout=timeout)
        agent = self._far_end.agent
        if not agent.ready:
            raise GuestError(
                "the image has no agent to run commands, but a shell on its line",
                hint="images that hostbuild make-image writes have one",
            )
        if agent.trouble:
            raise GuestError(agent.trouble)
        return agent

    def take_port(self) -> None:
        """Have commands go over a virtio port from now on, where machine and guest have one: it is much faster.

        For a guest that has settled: its driver is in then, if it ever comes.
        """
        with self._taking:
            if self._has_port and self._far_end.agent.usable and not self._port.ready:
                serve_port(self._far_end.agent, self._port)

    def check(self, command: str, *, timeout: float = 30.0) -> str:
        """Run a command as `sh` does and return its output. Raises GuestError if its status is not 0."""
        done = self.sh(command, timeout=timeout)
        if done.status != 0:
            said = f"{command!r} ended with status {done.status}: {done.output.strip()}"
            raise GuestError(f"in the guest, {said}", console=self.console)
        return done.output

    # Hotplug

    def device_add(self, driver: str, *, id: str = "", bus: str = "", **props: str | int | bool) -> str:  # noqa: A002
        """Plug a device in while the guest runs and return its id: see hostbuild.qemu.hotplug."""
        return self._ports.add(driver, id, bus, props)

    def device_del(self, device_id: str, *, timeout: float = 30.0) -> None:
        """Unplug a device: ask the guest, wait until it has let it go, and take its backend away.

        Raises GuestTimeoutError if it keeps the device.
        """
        try:
            self._ports.remove(device_id, timeout)
        except GuestError as e:
            e.console = self.console
            raise

    @property
    def plugged(self) -> list[str]:
        """The ids of the devices that have been plugged in, and not out again."""
        return self._ports.plugged

    # The end

    def wait(self, *, timeout: float | None = None) -> int:
        """Wait for the guest's end and return its exit status, as hostbuild.qemu.exit_status judges it."""
        patience = self.boot.limit_s + 10 if timeout is None else timeout
        if not self._lines.wait(lambda: self._lines.ended, patience):
            raise self._timeout_error("the guest did not end", patience)
        return self._status()

    def kill(self) -> None:
        """End QEMU now."""
        with contextlib.suppress(ProcessLookupError):
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    # Inside

    def _start(self) -> None:
        stack = self._cleanup
        stack.callback(self._lines.close)
        self.directory = stack.enter_context(scratch_directory())
        self._stderr = self.directory / "qemu.stderr"
        machine, served = stack.enter_context(beside_qemu(self.machine, self.boot.shares, self.directory))
        ours, theirs = socket.socketpair()
        with theirs, self._stderr.open("wb") as stderr:
            stack.callback(ours.close)
            port = PORT if self._has_port else ""
            lines_argv = self._lines.open(self.directory, self.machine.board, port=port)
            # A session of its own: the terminal's Ctrl-C reaches us, and we end QEMU. And should we be killed
            # outright, the kernel kills QEMU (prctl(2), PR_SET_PDEATHSIG).
            qemu = self.boot.argv(machine, self.directory)
            require_program(qemu[0])  # setpriv would not say which package brings it
            argv = [
                "setpriv",
                "--pdeathsig",
                "KILL",
                "--",
                qemu[0],
                *lines_argv,  # in front: a card with lines has the first slot
                *qemu[1:],
                *port_device(port),
                *(
                    "-chardev",
                    f"socket,id=monitor,fd={theirs.fileno()}",
                    "-mon",
                    "chardev=monitor,mode=control",
                ),
            ]
            self._process = spawn(
                argv, stdout=stderr, stderr=stderr, pass_fds=[theirs.fileno()], new_session=True
            )
            stack.callback(self.kill)  # the lines' thread ends with QEMU, and is joined after this
        try:
            self.monitor = Monitor(ours)
        except WorldError as e:
            said = self._last_words()
            if gone := next((one for one in served if one.ended), None):
                raise WorldError(f"virtiofsd ended: {gone.words}", hint="--share-by 9p") from e
            raise refusal(said, self.machine.board.arch) or WorldError(
                f"QEMU did not start: {said or e}"
            ) from e
        stack.callback(self.monitor.close)
        self._ports = Ports(self.machine, self.monitor)
        self._lines.start(
            limit_s=self.boot.limit_s, on_limit=self._on_limit, on_failure=self.kill, on_end=self._on_end
        )

    def _on_limit(self) -> None:
        self._over_limit = True
        self.kill()

    def _on_end(self) -> None:
        self._process.wait()
        self.monitor.drain()
        for agent in (self._far_end.agent, self._port):
            agent.end(ENDED)

    def _wait(self, done: Callable[[], bool], timeout: float, complaint: str) -> None:
        """Wait until `done`; raise GuestTimeoutError at the limit, GuestError if the guest ends before."""
        if self._lines.wait(done, timeout):
            return
        if self.running:
            raise self._timeout_error(complaint, timeout)
        status = self._status()
        raise GuestError(f"{complaint}: the guest ended with status {status}", console=self.console)

    def _timeout_error(self, complaint: str, timeout: float) -> GuestTimeoutError:
        console = self.console
        found = diagnose(console)
        why = f": {found.reason} ({found.line})" if found else ""
        message = f"{complaint} within {timeout:g} s{why}"
        return GuestTimeoutError(message, console=console, hint=found.fix if found else "")

    def _status(self) -> int:
        if self._lines.failure is not None:
            raise self._lines.failure
        return judge(
            Ending(
                console=self.console,
                ledger=self.ledger,
                reason=self.monitor.shutdown_reason(),
                over_limit_s=self.boot.limit_s if self._over_limit else None,
                last_words=self._last_words() or f"status {self._process.returncode}",
            )
        )

    def _last_words(self) -> str:
        try:
            return tail(self._stderr.read_text("utf-8", "replace"), 6)
        except OSError:  # the directory is gone with the machine
            return ""

    def _run(self, start: Start, name: str, data: bytes, timeout: float) -> Completed:
        complaint = f"the guest did not finish the command {name!r}"
        try:
            done = run_to_end(self.agent(), start, stdin=data, timeout=timeout)
        except CommandLostError as e:
            # The line's end is the guest's: why that ended says more.
            if self._lines.wait(lambda: self._lines.ended, 1.0):
                self._wait(lambda: False, 0, complaint)
            e.console = self.console
            raise
        if done is None:
            raise self._timeout_error(complaint, timeout)
        return done

    def _reach_far_end(self, *, timeout: float | None = None) -> None:
        """Wait until the guest's agent, or a shell in its place, answers."""
        board = self.machine.board
        if not self.boot.agent or board.serial_lines <= Line.AGENT.value:
            raise GuestError(f"the machine {self.machine.name} was booted without an agent")
        line = board.lines[Line.AGENT.value - 1]
        self._far_end.reach(self.boot.limit_s if timeout is None else timeout, line)
