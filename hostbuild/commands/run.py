"""hostbuild run: boots an image in QEMU, shows its console, brings back its exit status and its ledger."""

import contextlib
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from hostbuild import ui
from hostbuild.commands import _options
from hostbuild.errors import GuestError
from hostbuild.formats.manifest import files_beside
from hostbuild.fs.files import Growing, growing_file
from hostbuild.fs.path_types import InputPath
from hostbuild.qemu import terminal
from hostbuild.qemu.exit_status import complaints, exit_status
from hostbuild.qemu.lines import Line, Listener
from hostbuild.qemu.machine import read_machine
from hostbuild.qemu.session import Session, prepare
from hostbuild.qemu.transcript import unpacking_failure
from hostbuild.qemu.vm import VM

_NOBODY_LOOKS_S = 600.0  # the time limit where no terminal is there to end the machine from

_EPILOG = """\b
On a terminal the console is yours; Ctrl-A x ends the machine, Ctrl-A h helps.

\b
The exit status is the guest's own:
  0 to 255  what `modaliasd poweroff STATUS` said in the guest; 0 where it was switched off without one.
With --exit-when-settled it is the first of these that is not 0:
  111       the image has no modules for the kernel
  100       the policy has a mistake, and so denies everything
  STATUS    of the first program of /etc/settled.d that failed; 126: it is not executable
Otherwise:
  100, 111  the command line or what it names, or this machine, is at fault
  112       the guest panicked, vanished, or was lost before it said its status
  124       it was still running at the time limit
  130, 143  interrupted by Ctrl-C, ended by SIGTERM

\b
Examples:
  hostbuild run micro.img
  hostbuild run micro.img --machine q35 --exit-when-settled --ledger-out boot.jsonl
  hostbuild run micro.img --machine empty --device e1000 --device usb-storage,file=disk.img
  hostbuild run --list-devices
"""


@click.command("run", epilog=_EPILOG)
@click.argument("image", type=InputPath(beside=files_beside))
@_options.boot_kernel
@_options.machine
@_options.devices
@click.option(
    "--list-devices",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=lambda ctx, _param, wanted: _list_devices(ctx) if wanted else None,
    help="List the devices that --device and machine files take.",
)
@_options.append
@_options.memory
@_options.accel
@click.option("--icount", is_flag=True, help="Count time by instructions: slow, and repeatable to 1 %.")
@_options.ledger_out
@click.option("--watch", is_flag=True, help="Show what is loaded as it happens, in place of the console.")
@_options.timeout()
@click.option(
    "--exit-when-settled", is_flag=True, help="Have the guest switch itself off once it has settled."
)
@click.option("--dry-run", is_flag=True, help="Print the QEMU command and do nothing.")
def command(
    image: Path,
    kernel: str | None,
    machine_name: str,
    devices: tuple[str, ...],
    append: str,
    memory: str | None,
    accel: str,
    icount: bool,
    ledger_out: Path | None,
    watch: bool,
    timeout: float | None,
    exit_when_settled: bool,
    dry_run: bool,
) -> int:
    """Boot IMAGE in QEMU, with its console here, and end with its exit status."""
    interactive = sys.stdin.isatty() and sys.stdout.isatty()
    session = prepare(
        image,
        read_machine(machine_name, devices),
        kernel=kernel,
        append=append,
        memory=memory,
        accel=accel,
        icount=icount,
        poweroff=exit_when_settled,
        limit_s=timeout or (float("inf") if interactive else _NOBODY_LOOKS_S),
    )
    if dry_run:
        ledger = f"file:{ledger_out}" if ledger_out else "null"
        click.echo(shlex.join([*session.argv(), "-serial", "mon:stdio", "-serial", ledger]))
        return 0
    for note in session.notes:
        ui.note(note)
    vm: VM | None
    with _ledger_file(ledger_out) as ledger_file:
        if watch:
            vm, status = _run_watched(session, ledger_file)
        else:
            vm, status = _run(session, ledger_file, interactive=interactive)
    if vm is None:
        return status
    _tell(vm, steady=not interactive)
    told = session.machine.serial_lines > Line.CHANNEL.value
    if exit_when_settled and told and exit_status(vm.ledger) is None:
        raise GuestError("the guest switched itself off before it had settled and said its exit status")
    return status


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


def _run(session: Session, ledger_file: Growing | None, *, interactive: bool) -> tuple[VM | None, int]:
    """Boot with the console; return the machine, None if the user ended it, and its exit status."""
    listeners: dict[Line, Listener] = {Line.CONSOLE: _show}
    if ledger_file is not None:
        listeners[Line.CHANNEL] = ledger_file.write
    quitting = False
    with contextlib.ExitStack() as stack:
        if interactive:
            stack.enter_context(terminal.raw(sys.stdin.fileno()))
        vm = stack.enter_context(session.vm(listeners=listeners))

        def end() -> None:
            nonlocal quitting
            quitting = True
            vm.kill()

        if interactive:
            terminal.start_typing(sys.stdin.fileno(), vm.type, _show, end)
        try:
            status = vm.wait()
        except GuestError as e:
            if quitting:
                return None, 0
            e.console = ""  # it has been shown all along
            raise
    return vm, status


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


def _show(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


@contextlib.contextmanager
def _ledger_file(path: Path | None) -> Iterator[Growing | None]:
    if path is None:
        yield None
        return
    with growing_file(path, "the ledger") as file:
        yield file
