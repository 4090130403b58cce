"""`hostbuild run IMAGE -- COMMAND`: a guest for one command."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hostbuild import ui
from hostbuild.errors import HostbuildError
from hostbuild.guest.agent import Agent
from hostbuild.guest.command import Ended, Lost, request
from hostbuild.guest.foreground import LeftError, run_here, terminal_size
from hostbuild.guest.refusal import Refusal
from hostbuild.live import terminal
from hostbuild.live.named import booted
from hostbuild.live.ready import make_ready, out_of_memory, power_off, status_of_lost
from hostbuild.qemu.lines import Line, Listener
from hostbuild.qemu.session import Session
from hostbuild.qemu.vm import VM
from microagent.messages import Start


def run_command(
    session: Session,
    start: Start,
    *,
    ledger: Listener | None = None,
    console: Listener | None = None,
    name: str | None = None,
    stdin: int | None,
) -> int:
    """Boot, run the command once the guest has settled, have the guest switch itself off; return the status.

    ledger, console: get these lines' bytes as they come. name: what others can call the guest by. Raises as live_with
    does.
    """

    def work(vm: VM, agent: Agent) -> int:
        return run_and_end(vm, agent, start, stdin)

    return live_with(session, work, ledger=ledger, console=console, name=name)


def live_with(
    session: Session,
    work: Callable[[VM, Agent], int],
    *,
    ledger: Listener | None = None,
    console: Listener | None = None,
    name: str | None = None,
) -> int:
    """Boot, do the work once the guest has settled, and return its status; the work has the guest end.

    Raises GuestError for a guest that is lost, GuestTimeoutError at the session's limit, KeyboardInterrupt and
    SystemExit for our own signals.
    """
    listeners: dict[Line, Listener] = {}
    if ledger is not None:
        listeners[Line.CHANNEL] = ledger
    if console is not None:
        listeners[Line.CONSOLE] = console
    with booted(session, name, listeners) as vm:
        with ui.reporter().step(f"Booting {session.boot.initrd.name}"):
            agent = make_ready(vm)
        before = len(vm.console)
        status = work(vm, agent)
        if status and (said := out_of_memory(vm.console[before:])):
            ui.note(said)
    return status


def run_and_end(vm: VM, agent: Agent, start: Start, stdin: int | None) -> int:
    """Run a command as if it were here, have the guest switch itself off, and return the command's status."""
    with raw_if(start):
        outcome = run_here(agent, start, stdin=stdin)
    if isinstance(outcome, Lost):
        return status_of_lost(vm, agent, outcome.reason)
    status = status_of(outcome)
    power_off(vm, agent, status)
    return status


def status_of(outcome: Ended | Refusal) -> int:
    """Return the exit status; a command that could not be started is told of on stderr."""
    if isinstance(outcome, Refusal):
        ui.complain(f"hostbuild: {outcome.message}")
        if outcome.hint:
            ui.complain(f"hint: {outcome.hint}")
    return outcome.status


def standard_input() -> int | None:
    """Return the descriptor of standard input, if it is for the command: everything but a terminal."""
    try:
        return None if os.isatty(0) else os.dup(0)
    except OSError:
        return None


def shell_request(directory: str = "", words: Sequence[str] = ()) -> tuple[Start, int | None]:
    """Make the request for a shell, and say where its input comes from: a terminal if this process has one."""
    here = sys.stdin.isatty() and sys.stdout.isatty()
    if not here:
        return request(list(words) or ["sh"], directory=directory), standard_input()
    term = f"TERM={os.environ.get('TERM') or 'linux'}"
    argv = list(words) or ["sh", "-l"]
    return request(argv, directory=directory, environment=[term], size=terminal_size()), 0


@contextmanager
def raw_if(start: Start) -> Iterator[None]:
    """Have the terminal pass every key on, if the command has one of its own."""
    if start.size is None:
        yield
        return
    ui.note("Ctrl-] leaves the guest")
    with terminal.raw(0):
        yield


def leaving(work: Callable[[], int]) -> int:
    """Do the work; a user who leaves the terminal ends it with status 0."""
    try:
        return work()
    except LeftError:
        ui.complain("")
        return 0


def current_directory() -> Path:
    """Return this process's directory by the name that the user knows it by."""
    named = os.environ.get("PWD", "")
    try:
        if named.startswith("/") and os.path.samefile(named, "."):
            return Path(named)
        return Path.cwd()
    except OSError as e:
        raise HostbuildError(f"the current directory is gone: {e.strerror}") from e
