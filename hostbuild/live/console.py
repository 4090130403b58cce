"""A guest's console on this process's terminal, without the kernel's log until the guest has settled."""

import os
import select
import shutil
import stat
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack

from hostbuild import ui
from hostbuild.errors import GuestError
from hostbuild.guest.command import Lost, request
from hostbuild.guest.foreground import run_here
from hostbuild.live import terminal
from hostbuild.live.command import status_of
from hostbuild.live.named import booted
from hostbuild.live.quiet import PlainLines, QuietConsole, SizeQuestion, answer
from hostbuild.live.ready import mount, power_off, status_of_lost
from hostbuild.qemu.lines import Line, Listener
from hostbuild.qemu.session import Session
from hostbuild.qemu.vm import VM

_LOOK_S = 0.25
_PATIENCE_S = 60.0  # then what is there is shown, settled or not; the kernel's log still is not


class ConsoleView:
    """What is shown of a console. All of its methods may be called from any thread.

    hold: nothing is shown before the guest has settled, but that it boots; otherwise only the kernel's log is left out.
    """

    def __init__(self, title: str, write: Callable[[bytes], None], *, hold: bool) -> None:
        self._filter = QuietConsole()
        self._question = SizeQuestion()
        self._send: Callable[[bytes], None] | None = None
        self._write = write
        self._held = bytearray()
        self._lock = threading.Lock()
        self._progress = ExitStack()
        self._timer: threading.Timer | None = None
        self._holding = hold
        if hold:
            self._progress.enter_context(ui.reporter().step(title))
            self._timer = threading.Timer(_PATIENCE_S, self._lose_patience)
            self._timer.daemon = True
            self._timer.start()

    def feed(self, data: bytes) -> None:
        """Take what the console has brought."""
        asked = 0
        with self._lock:
            if self._holding and self._send is not None:
                data, asked = self._question.feed(data)
            out = self._filter.feed(data)
            if not self._holding:
                self._write(out)
                return
            self._held += out
            if self._filter.over:
                self._release()
        if asked and self._send is not None:
            size = shutil.get_terminal_size()
            self._send(answer(size.lines, size.columns))

    def open(self) -> None:
        """Show everything from here on: the user types."""
        with self._lock:
            if self._filter.over:
                return
            self._held += self._filter.open()
            self._release()

    def close(self) -> None:
        """Show what is still held back; the guest has ended."""
        with self._lock:
            if not self._filter.over:
                self._held += self._filter.open()
            self._release()

    def typing(self, send: Callable[[bytes], None]) -> Callable[[bytes], None]:
        """Return what passes typed bytes on, and opens the console at the first.

        From now on the guest is told the terminal's size while nothing is shown.
        """

        def typed(data: bytes) -> None:
            if data:
                self.open()
            send(data)

        self._send = send
        return typed

    def _lose_patience(self) -> None:
        with self._lock:
            if self._holding:
                self._release()

    def _release(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._holding = False
        self._progress.close()
        held = bytes(self._held) + self._question.rest()
        self._held.clear()
        self._write(held)


def run_console(
    session: Session, ledger: Listener | None, *, interactive: bool, name: str | None = None
) -> tuple[VM | None, int]:
    """Boot with the console here; return the machine, None if the user ended it, and its exit status.

    interactive: a terminal is there, whose keys are the guest's. Otherwise a script on standard input is given to a
    shell once the guest has settled, if the session has an agent. name: what others can call it by.
    """
    view: ConsoleView | None = None
    plain = PlainLines()
    write = show if interactive else lambda data: show(plain.feed(data))
    if session.boot.quiet:
        view = ConsoleView(f"Booting {session.boot.initrd.name}", write, hold=interactive)
    listeners: dict[Line, Listener] = {Line.CONSOLE: view.feed if view else write}
    if ledger is not None:
        listeners[Line.CHANNEL] = ledger
    quitting = False
    with ExitStack() as stack:
        stack.callback(lambda: show(plain.finish()))
        if view is not None:
            stack.callback(view.close)
        if interactive:
            stack.enter_context(terminal.raw(sys.stdin.fileno()))
        vm = stack.enter_context(booted(session, name, listeners))

        def end() -> None:
            nonlocal quitting
            quitting = True
            vm.kill()

        if interactive:
            send = view.typing(vm.type) if view else vm.type
            terminal.start_typing(sys.stdin.fileno(), send, show, end)
        try:
            if vm.boot.shares:
                vm.settled(timeout=vm.boot.limit_s)
                mount(vm)
            if session.boot.agent and not (interactive or session.boot.poweroff) and is_script(0):
                return vm, _run_script(vm)
            status = vm.wait()
        except GuestError as e:
            if quitting:
                return None, 0
            if view is None:
                e.console = ""  # it has been shown all along
            raise
    return vm, status


def is_script(fd: int) -> bool:
    """Return whether commands may come from the descriptor: from a file or a pipe, not from /dev/null."""
    try:
        mode = os.fstat(fd).st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) or stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _run_script(vm: VM) -> int:
    """Give what comes on standard input to a shell; where nothing does, wait for the guest's own end."""
    while not select.select([0], [], [], _LOOK_S)[0]:
        if not vm.running:
            return vm.wait()
    first = os.read(0, 1)
    if not first:
        return vm.wait()
    vm.settled(timeout=vm.boot.limit_s)
    agent = vm.agent()
    outcome = run_here(agent, request(["sh"]), stdin=0, before=first)
    if isinstance(outcome, Lost):
        return status_of_lost(vm, agent, outcome.reason)
    status = status_of(outcome)
    power_off(vm, agent, status)
    return status


def show(data: bytes) -> None:
    """Write to standard output at once."""
    if data:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
