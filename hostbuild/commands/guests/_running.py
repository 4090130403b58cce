"""A guest lived for whoever called: with its console here, for a command, watched, or detached. `run`, `boot`."""

import contextlib
import functools
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hostbuild import ui
from hostbuild.commands import _options
from hostbuild.errors import GuestError, UsageError
from hostbuild.fs.files import Growing, growing_file
from hostbuild.live.command import current_directory, leaving, run_command, standard_input
from hostbuild.live.options import NOBODY_LOOKS_S, GuestOptions
from hostbuild.qemu.exit_status import complaints, exit_status
from hostbuild.qemu.lines import Line
from hostbuild.qemu.session import Session
from hostbuild.qemu.transcript import unpacking_failure
from hostbuild.qemu.vm import VM

if TYPE_CHECKING:
    from hostbuild.live.detached import Begun


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants of a guest: the options of `run` that are not about what is booted."""

    words: tuple[str, ...]
    cwd: str | None
    detach: str | None
    ledger_out: Path | None
    watch: bool
    timeout: float | None
    exit_when_settled: bool
    verbose: bool
    dry_run: bool
    as_json: bool = False
    name: str | None = None


def wish(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the argument [-- COMMAND] and these options; it gets them as `wish`, one value."""

    @functools.wraps(command)
    def call(**given: Any) -> Any:  # noqa: ANN401
        wanted = Wish(**{field.name: given.pop(field.name) for field in fields(Wish)})
        return command(wish=wanted, **given)

    decorated: Callable[..., Any] = call
    for option in reversed(
        (
            _options.words,
            _options.cwd,
            click.option(
                "--detach", metavar="NAME", help="Leave the guest running under a name, for exec, plug, stop."
            ),
            _options.own_name,
            _options.ledger_out,
            click.option(
                "--watch",
                is_flag=True,
                help="Show what is loaded as it happens, in place of the console; the kernel boots first.",
            ),
            _options.timeout(),
            click.option(
                "--exit-when-settled",
                is_flag=True,
                help="Have the guest switch itself off once it has settled.",
            ),
            _options.verbose,
            _options.dry_run,
            _options.as_json("what --detach, --dry-run or --list-devices says"),
        )
    ):
        decorated = option(decorated)
    return decorated


def check(wish: Wish, guest: GuestOptions) -> None:
    """Refuse, before the work, options that contradict each other and a name that is taken."""
    _check_together(
        wish.words,
        wish.cwd,
        wish.detach,
        called=wish.name,
        watch=wish.watch,
        exit_when_settled=wish.exit_when_settled,
        ledger_out=wish.ledger_out,
        shares=bool(guest.shares),
    )
    if wish.as_json and not (wish.detach or wish.dry_run):
        raise UsageError(
            "--json goes with --detach, --dry-run or --list-devices: a guest's console, and its command's output, are "
            "what they are",
            hint="--ledger-out FILE has what happened, as JSON lines",
        )
    if name := wish.detach or wish.name:
        from hostbuild.live.names import require_free

        require_free(name)


def live(guest: GuestOptions, wish: Wish) -> int:
    """Boot, do what is wished, and return the exit status."""
    words = wish.words
    interactive = sys.stdin.isatty() and sys.stdout.isatty() and not words
    from hostbuild.live.console import is_script

    script = not (words or wish.detach or wish.watch or wish.exit_when_settled) and is_script(0)
    limit = float("inf") if wish.detach or (interactive and not wish.exit_when_settled) else NOBODY_LOOKS_S
    session = guest.session(
        limit_s=wish.timeout or limit,
        agent=bool(words or wish.detach or wish.name) or (script and guest.has_agent()),
        poweroff=wish.exit_when_settled,
        quiet=not (wish.verbose or words or wish.detach or wish.watch) and guest.has_agent(),
        shell=wish.dry_run or (interactive and not (wish.detach or wish.watch)),
    )
    if wish.dry_run:
        ledger = f"file:{wish.ledger_out}" if wish.ledger_out else "null"
        argv = [*session.argv(), "-serial", "mon:stdio", "-serial", ledger]
        ui.print_json({"argv": argv}) if wish.as_json else click.echo(shlex.join(argv))
        return 0
    if not words or sys.stderr.isatty():
        for note in session.notes:
            ui.note(note)
    if wish.detach:
        from hostbuild.live.detached import begin

        begun = begin(wish.detach, session)
        if begun is not None:
            _print_begun(begun, as_json=wish.as_json)
        return 0
    vm: VM | None
    with writing_ledger(wish.ledger_out) as ledger_file:
        if words:
            return _for_command(session, guest, wish, ledger_file)
        if wish.watch:
            vm, status = _run_watched(session, ledger_file, wish.name)
        else:
            from hostbuild.live.console import run_console

            vm, status = run_console(
                session,
                ledger_file.write if ledger_file else None,
                interactive=interactive,
                name=wish.name,
            )
    if vm is None:
        return status
    _tell(vm, steady=not interactive)
    told = session.machine.board.serial_lines > Line.CHANNEL.value
    if wish.exit_when_settled and told and exit_status(vm.ledger) is None:
        raise GuestError("the guest switched itself off before it had settled and reported its exit status")
    return status


def _check_together(
    words: tuple[str, ...],
    cwd: str | None,
    detach: str | None,
    *,
    called: str | None,
    watch: bool,
    exit_when_settled: bool,
    ledger_out: Path | None,
    shares: bool,
) -> None:
    """Refuse options that contradict each other."""
    for name, given in (("--watch", watch), ("--exit-when-settled", exit_when_settled)):
        if given and words:
            raise UsageError(
                f"{name} and a command are mutually exclusive: the command decides when the guest ends"
            )
        if given and detach:
            raise UsageError(f"{name} and --detach are mutually exclusive")
        if given and shares:
            raise UsageError(
                f"{name} and --share are mutually exclusive: folders are mounted once the guest has settled",
                hint="give it a command: hostbuild run IMAGE --share DIR -- COMMAND",
            )
    if detach and called:
        raise UsageError("--detach gives the guest its name, and --name is for one that is not detached")
    if detach and words:
        raise UsageError(
            "--detach and a command are mutually exclusive",
            hint=f"hostbuild run --detach {detach} IMAGE; then: hostbuild exec {detach} -- {shlex.join(words)}",
        )
    if detach and ledger_out:
        raise UsageError("a detached guest keeps its ledger itself: `hostbuild list --json` names it")
    if cwd is not None and not words:
        raise UsageError("--cwd is where a command runs, and there is none")


def _print_begun(begun: "Begun", *, as_json: bool) -> None:
    """Say that a guest is up, and what can be done with it."""
    from hostbuild.live.names import describe

    name, settled = begun.place.name, begun.settled
    if as_json:
        ui.print_json({**describe(begun.place), "settled": settled})
        return
    ui.line(f"{name}: up; {settled.get('matched')} devices matched, {settled.get('loads')} modules loaded")
    ui.line(f"  hostbuild exec {name} -- COMMAND; plug {name} DEVICE; stop {name}")
    ui.line(f"  its ledger: {begun.place.ledger}")


def _for_command(
    session: Session,
    guest: GuestOptions,
    wish: Wish,
    ledger_file: Growing | None,
) -> int:
    from hostbuild.guest.command import request
    from hostbuild.guest.share import directory_in

    where = directory_in(guest.shares, current_directory()) if wish.cwd is None else wish.cwd
    start = request(wish.words, directory=where)
    return leaving(
        lambda: run_command(
            session,
            start,
            ledger=ledger_file.write if ledger_file else None,
            console=to_stderr if wish.verbose else None,
            name=wish.name,
            stdin=standard_input(),
        )
    )


def to_stderr(data: bytes) -> None:
    """Show a console on standard error."""
    sys.stderr.buffer.write(data)
    sys.stderr.buffer.flush()


def _tell(vm: VM, *, steady: bool) -> None:
    """Say on stderr what the guest found wrong, and what was wrong with it.

    steady: nobody could stop the output, and with it our reading of the guest's lines.
    """
    if failure := unpacking_failure(vm.console):
        ui.note(f"{failure.reason} ({failure.line}); {failure.fix}")
    for complaint in complaints(vm.ledger):
        ui.note(f"in the guest: {complaint}")
    if vm.skipped.count:
        ui.note(f"on the channel, {vm.skipped}")
    rate = vm.clock_rate() if steady else None
    if rate is not None:
        click.echo(
            f"hostbuild: the guest's clock ran {rate:.2g} times as fast as this machine's: none of its times, nor "
            "its drivers' time limits, can be trusted (a kernel that gets no time while it starts finds a wrong "
            "rate of the TSC). Boot it again; --icount has a clock that cannot go wrong",
            err=True,
        )


def _run_watched(session: Session, ledger_file: Growing | None, name: str | None) -> tuple[VM, int]:
    """Boot with the watch's screen instead of the console, until the guest ends or Ctrl-C ends it."""
    from hostbuild.ledger.watch import ChannelWatch
    from hostbuild.live.named import booted

    with ChannelWatch() as screen:

        def take(data: bytes) -> None:
            if ledger_file is not None:
                ledger_file.write(data)
            screen.feed(data)

        with booted(session, name, {Line.CHANNEL: take}) as vm:
            status = vm.wait()
    return vm, status


@contextlib.contextmanager
def writing_ledger(path: Path | None) -> Iterator[Growing | None]:
    """Open the file that a ledger goes to, if there is one."""
    if path is None:
        yield None
        return
    with growing_file(path, "the ledger") as file:
        yield file
