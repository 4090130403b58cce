"""hostbuild run: boots an image in QEMU, for its console or a command; brings back its exit status and its ledger."""

import contextlib
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

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

_EPILOG = """On a terminal the console is yours; Ctrl-A x ends the machine, Ctrl-A h helps. The kernel's log is left
out until the guest has settled; --verbose shows it, and a boot that fails shows its end.

With -- COMMAND it is run once the guest has settled: its output is here, its standard input is ours unless that is a
terminal, Ctrl-C and other signals go to it, and its exit status is ours. Without one, a script on standard input is
given to a shell in the guest.

\b
The exit status is the guest's own:
  0 to 255  the command's; 128 + N where signal N ended it; 127 where the
            guest does not have it, 126 where it cannot run it
            without a command: what `modaliasd poweroff STATUS` said, or 0
With --exit-when-settled it is the first of these that is not 0:
  111       the image has no modules for the kernel
  100       the policy has a mistake, and so denies everything
  STATUS    of the first program of /etc/settled.d that failed
            126: it is not executable
Otherwise:
  100, 111  the command line or what it names, or this machine, is at fault
  112       the guest panicked, vanished, or ended before it said a status
  124       it was still running, or hung, at the time limit
  130, 143  interrupted by Ctrl-C, ended by SIGTERM

\b
Examples:
  hostbuild run micro.img
  hostbuild run micro.img -- modaliasd tree
  hostbuild run micro.img --share . -- sh -c 'insmod ./my.ko && dmesg | tail'
  hostbuild run micro.img --exit-when-settled --ledger-out boot.jsonl
  hostbuild run micro.img --device e1000 --device usb-storage,file=disk.img
  hostbuild run micro.img --detach box     then: hostbuild exec box -- lsmod
  hostbuild run --list-devices
"""


@click.command("run", epilog=_EPILOG)
@_options.guest
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[-- COMMAND ARG...]")
@click.option(
    "--list-devices",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=lambda ctx, _param, wanted: _list_devices(ctx) if wanted else None,
    help="List the devices that --device and machine files take.",
)
@_options.cwd
@click.option("--detach", metavar="NAME", help="Leave the guest running under a name, for exec, plug, stop.")
@_options.ledger_out
@click.option(
    "--watch",
    is_flag=True,
    help="Show what is loaded as it happens, in place of the console; the kernel boots first.",
)
@_options.timeout()
@click.option(
    "--exit-when-settled", is_flag=True, help="Have the guest switch itself off once it has settled."
)
@_options.verbose
@_options.dry_run
def command(
    guest: GuestOptions,
    words: tuple[str, ...],
    cwd: str | None,
    detach: str | None,
    ledger_out: Path | None,
    watch: bool,
    timeout: float | None,
    exit_when_settled: bool,
    verbose: bool,
    dry_run: bool,
) -> int:
    """Boot IMAGE in QEMU, with its console here or for COMMAND, and end with its exit status."""
    _check_together(
        words,
        cwd,
        detach,
        watch=watch,
        exit_when_settled=exit_when_settled,
        ledger_out=ledger_out,
        shares=bool(guest.shares),
    )
    if detach:
        from hostbuild.live.names import require_free

        require_free(detach)
    interactive = sys.stdin.isatty() and sys.stdout.isatty() and not words
    from hostbuild.live.console import is_script

    script = not (words or detach or watch or exit_when_settled) and is_script(0)
    limit = float("inf") if detach or (interactive and not exit_when_settled) else NOBODY_LOOKS_S
    session = guest.session(
        limit_s=timeout or limit,
        agent=bool(words or detach) or (script and guest.has_agent()),
        poweroff=exit_when_settled,
        quiet=not (verbose or words or detach or watch) and guest.has_agent(),
    )
    if dry_run:
        ledger = f"file:{ledger_out}" if ledger_out else "null"
        click.echo(shlex.join([*session.argv(), "-serial", "mon:stdio", "-serial", ledger]))
        return 0
    if not words or sys.stderr.isatty():
        for note in session.notes:
            ui.note(note)
    if detach:
        from hostbuild.live.detached import begin

        begun = begin(detach, session, guest.shares)
        if begun is not None:
            _print_begun(begun)
        return 0
    vm: VM | None
    with _ledger_file(ledger_out) as ledger_file:
        if words:
            return _for_command(session, guest, words, cwd, ledger_file, verbose=verbose)
        if watch:
            vm, status = _run_watched(session, ledger_file)
        else:
            from hostbuild.live.console import run_console

            vm, status = run_console(
                session, guest.shares, ledger_file.write if ledger_file else None, interactive=interactive
            )
    if vm is None:
        return status
    _tell(vm, steady=not interactive)
    told = session.machine.serial_lines > Line.CHANNEL.value
    if exit_when_settled and told and exit_status(vm.ledger) is None:
        raise GuestError("the guest switched itself off before it had settled and said its exit status")
    return status


def _check_together(
    words: tuple[str, ...],
    cwd: str | None,
    detach: str | None,
    *,
    watch: bool,
    exit_when_settled: bool,
    ledger_out: Path | None,
    shares: bool,
) -> None:
    """Refuse options that contradict each other."""
    for name, given in (("--watch", watch), ("--exit-when-settled", exit_when_settled)):
        if given and words:
            raise UsageError(
                f"{name} and a command do not go together: the command decides when the guest ends"
            )
        if given and detach:
            raise UsageError(f"{name} and --detach do not go together")
        if given and shares:
            raise UsageError(
                f"{name} and --share do not go together: folders are mounted once the guest has settled",
                hint="give it a command: hostbuild run IMAGE --share DIR -- COMMAND",
            )
    if detach and words:
        raise UsageError(
            "--detach and a command do not go together",
            hint=f"hostbuild run --detach {detach} IMAGE; then: hostbuild exec {detach} -- {shlex.join(words)}",
        )
    if detach and ledger_out:
        raise UsageError("a detached guest keeps its ledger itself: `hostbuild list --json` names it")
    if cwd is not None and not words:
        raise UsageError("--cwd is where a command runs, and there is none")


def _print_begun(begun: "Begun") -> None:
    """Say that a guest is up, and what can be done with it."""
    name, settled = begun.place.name, begun.settled
    ui.line(f"{name}: up; {settled.get('matched')} devices matched, {settled.get('loads')} modules loaded")
    ui.line(f"  hostbuild exec {name} -- COMMAND; plug {name} DEVICE; stop {name}")
    ui.line(f"  its ledger: {begun.place.ledger}")


def _for_command(
    session: Session,
    guest: GuestOptions,
    words: tuple[str, ...],
    cwd: str | None,
    ledger_file: Growing | None,
    *,
    verbose: bool,
) -> int:
    from hostbuild.guest.command import request
    from hostbuild.guest.share import directory_in

    where = directory_in(guest.shares, current_directory()) if cwd is None else cwd
    start = request(words, directory=where)
    return leaving(
        lambda: run_command(
            session,
            start,
            shares=guest.shares,
            ledger=ledger_file.write if ledger_file else None,
            console=_to_stderr if verbose else None,
            stdin=standard_input(),
        )
    )


def _to_stderr(data: bytes) -> None:
    sys.stderr.buffer.write(data)
    sys.stderr.buffer.flush()


def _list_devices(ctx: click.Context) -> None:
    from hostbuild.qemu.catalog import read_catalog, render_catalog

    click.echo(render_catalog(read_catalog()))
    ctx.exit()


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


def _run_watched(session: Session, ledger_file: Growing | None) -> tuple[VM, int]:
    """Boot with the watch's screen instead of the console, until the guest ends or Ctrl-C ends it."""
    from hostbuild.ledger.watch import ChannelWatch

    with ChannelWatch() as screen:

        def take(data: bytes) -> None:
            if ledger_file is not None:
                ledger_file.write(data)
            screen.feed(data)

        with session.vm(listeners={Line.CHANNEL: take}) as vm:
            status = vm.wait()
    return vm, status


@contextlib.contextmanager
def _ledger_file(path: Path | None) -> Iterator[Growing | None]:
    if path is None:
        yield None
        return
    with growing_file(path, "the ledger") as file:
        yield file
