"""hostbuild run: boots an image in QEMU, shows its console, brings back its exit status and its ledger."""

import contextlib
import shlex
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import FrameType

import click

from hostbuild.errors import GuestError, UsageError
from hostbuild.formats.manifest import files_beside
from hostbuild.fs.files import Growing, growing_file
from hostbuild.fs.path_types import InputPath, InputWord, OutputPath
from hostbuild.qemu import terminal
from hostbuild.qemu.accel import Accel, choose
from hostbuild.qemu.device import device_files, parse_device
from hostbuild.qemu.exit_status import complaints, exit_status
from hostbuild.qemu.lines import Line, Listener
from hostbuild.qemu.machine import Machine, machine_names, parse_memory, read_machine
from hostbuild.qemu.memory import MemoryEstimate, require_enough
from hostbuild.qemu.memory_probe import read_estimate
from hostbuild.qemu.pairing import read_manifest_if_any, require_kernel_for
from hostbuild.qemu.transcript import unpacking_failure
from hostbuild.qemu.vm import VM, Boot

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
@click.option(
    "--kernel",
    type=InputWord(),
    help="A vmlinuz, or deb:PACKAGE. Default: the kernel that the image was built for.",
)
@click.option(
    "--machine",
    "machine_name",
    type=InputWord(),
    default="virtio",
    show_default=True,
    metavar="NAME|FILE.toml",
    help=f"The hardware: one of {', '.join(machine_names())}, or a machine file.",
)
@click.option(
    "--device",
    "devices",
    multiple=True,
    type=InputWord(device_files),
    metavar="ARG",
    help="Add a device, as QEMU's -device.",
)
@click.option(
    "--list-devices",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=lambda ctx, _param, wanted: _list_devices(ctx) if wanted else None,
    help="List the devices that --device and machine files take.",
)
@click.option("--append", default="", help="Words for the kernel's command line.")
@click.option(
    "--memory", default=None, metavar="auto|SIZE", help="Default: what the machine says, else auto."
)
@click.option("--accel", type=click.Choice(["auto", "kvm", "tcg"]), default="auto", show_default=True)
@click.option("--icount", is_flag=True, help="Count time by instructions: slow, and repeatable to 1 %.")
@click.option(
    "--ledger-out", type=OutputPath("the ledger"), metavar="FILE", help="Write the ledger here as it comes."
)
@click.option("--watch", is_flag=True, help="Show what is loaded as it happens, in place of the console.")
@click.option("--timeout", type=click.FloatRange(min=1), metavar="S", help="End the machine after S seconds.")
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
    machine = read_machine(machine_name).plus(map(parse_device, devices))
    manifest = read_manifest_if_any(image)
    vmlinuz = require_kernel_for(image, manifest, kernel)
    wanted = machine.memory if memory is None else parse_memory(memory)
    machine = replace(machine, memory=None)  # what is said here counts, not what the machine's file says
    interactive = sys.stdin.isatty() and sys.stdout.isatty()
    words = [manifest.get("append", ""), append, "modaliasd.poweroff=settled" if exit_when_settled else ""]
    chosen = choose(accel)
    if icount and chosen.accel is Accel.KVM:
        raise UsageError("--icount counts instructions, which KVM cannot", hint="--accel tcg")
    boot = Boot(
        kernel=vmlinuz,
        initrd=image,
        append=" ".join(filter(None, words)),
        accel=chosen.accel,
        memory=_enough_memory(wanted, read_estimate(image, manifest, vmlinuz, append)),
        icount=icount,
        agent=False,
        limit_s=timeout or (float("inf") if interactive else _NOBODY_LOOKS_S),
    )
    if dry_run:
        ledger = f"file:{ledger_out}" if ledger_out else "null"
        click.echo(shlex.join([*boot.argv(machine), "-serial", "mon:stdio", "-serial", ledger]))
        return 0
    if chosen.accel is Accel.TCG and accel == "auto":
        click.echo(f"hostbuild: no KVM, so QEMU emulates: {chosen.why}", err=True)
    vm: VM | None
    with _ended_by_signals(), _ledger_file(ledger_out) as ledger_file:
        if watch:
            vm, status = _run_watched(machine, boot, ledger_file)
        else:
            vm, status = _run(machine, boot, ledger_file, interactive=interactive)
    if vm is None:
        return status
    _tell(vm, steady=not interactive)
    if exit_when_settled and machine.serial_lines > Line.CHANNEL.value and exit_status(vm.ledger) is None:
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
        click.echo(f"hostbuild: {failure.reason} ({failure.line}); {failure.fix}", err=True)
    for complaint in complaints(vm.ledger):
        click.echo(f"hostbuild: in the guest: {complaint}", err=True)
    if vm.torn:
        click.echo(f"hostbuild: {len(vm.torn)} lines on the channel were no ledger records", err=True)
    rate = vm.clock_rate() if steady else None
    if rate is not None:
        click.echo(
            f"hostbuild: the guest's clock ran {rate:.2g} times as fast as this machine's: none of its times, nor "
            "its drivers' time limits, can be trusted (a kernel that gets no time while it starts finds a wrong "
            "rate of the TSC). Boot it again; --icount has a clock that cannot go wrong",
            err=True,
        )


def _run(
    machine: Machine, boot: Boot, ledger_file: Growing | None, *, interactive: bool
) -> tuple[VM | None, int]:
    """Boot with the console; gives the machine, None if the user ended it, and its exit status."""
    listeners: dict[Line, Listener] = {Line.CONSOLE: _show}
    if ledger_file is not None:
        listeners[Line.CHANNEL] = ledger_file.write
    quitting = False
    with contextlib.ExitStack() as stack:
        if interactive:
            stack.enter_context(terminal.raw(sys.stdin.fileno()))
        vm = stack.enter_context(VM(machine, boot, listeners=listeners))

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


def _run_watched(machine: Machine, boot: Boot, ledger_file: Growing | None) -> tuple[VM, int]:
    """Boot with the watch's screen instead of the console, until the guest ends or Ctrl-C ends it."""
    from hostbuild.ledger.watch import ChannelWatch

    with ChannelWatch() as screen:

        def take(data: bytes) -> None:
            if ledger_file is not None:
                ledger_file.write(data)
            screen.feed(data)

        with VM(machine, boot, listeners={Line.CHANNEL: take}) as vm:
            status = vm.wait()
    return vm, status


def _show(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _enough_memory(wanted: int | None, prediction: MemoryEstimate) -> int:
    """Return MiB: what is wanted if the image can be unpacked in it, else UsageError; auto where None."""
    if wanted is None:
        return prediction.comfortable
    require_enough(prediction, wanted)
    return wanted


@contextlib.contextmanager
def _ledger_file(path: Path | None) -> Iterator[Growing | None]:
    if path is None:
        yield None
        return
    with growing_file(path, "the ledger") as file:
        yield file


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into an exit that cleans up, as Ctrl-C does by itself."""

    def leave(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
