"""Options that several commands have: one definition each, so that they mean, and say, the same everywhere."""

import contextlib
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from hostbuild import ui
from hostbuild.arch import Arch, parse_arch
from hostbuild.errors import HostbuildError
from hostbuild.formats.manifest import files_beside
from hostbuild.fs.path_types import InputPath, InputWord, OutputPath
from hostbuild.guest.network import parse_forward
from hostbuild.guest.share import Transport, parse_share
from hostbuild.qemu.device import device_files
from hostbuild.qemu.machine import machine_names, read_machine


def _complete_devices(_ctx: click.Context, _param: click.Parameter, word: str) -> list[CompletionItem]:
    """Complete a device's name, with what it is; after a comma, its properties."""
    from hostbuild.qemu.catalog import completions

    with contextlib.suppress(HostbuildError):  # there is no QEMU to ask
        return [CompletionItem(value, help=help_) for value, help_ in completions(word)]
    return []


def _complete_guests(_ctx: click.Context, _param: click.Parameter, word: str) -> list[CompletionItem]:
    """Complete the name of a guest that runs."""
    from hostbuild.live.names import all_places

    with contextlib.suppress(HostbuildError):
        return [CompletionItem(one.name) for one in all_places() if one.name.startswith(word) and one.alive()]
    return []


def _complete_machines(ctx: click.Context, param: click.Parameter, word: str) -> list[CompletionItem]:
    """Complete a machine's name, or else the path of a machine file."""
    named = [name for name in machine_names() if name.startswith(word)]
    return [CompletionItem(name) for name in named] or click.Path().shell_complete(ctx, param, word)


_Command = TypeVar("_Command", bound=Callable[..., Any])

# Which guest, of those that run.
guest_name = click.argument("name", shell_complete=_complete_guests)
guest_names = click.argument("names", nargs=-1, metavar="NAME...", shell_complete=_complete_guests)
plugged_device = click.argument(
    "device", metavar="DEVICE[,id=ID][,PROPERTY=VALUE]...", shell_complete=_complete_devices
)

# What is booted, on what.
_KERNELS = (
    "deb:PACKAGE[=VERSION][/RELEASE], the path of a vmlinuz, a build tree or an archive (make targz-pkg, bindeb-pkg), "
    "a version (6.12.9-amd64), or running."
)
boot_kernel = click.option(
    "--kernel",
    type=InputWord(),
    metavar="KERNEL",
    help=f"{_KERNELS} Default: the kernel that the image was built for.",
)
machine = click.option(
    "--machine",
    "machine_name",
    type=InputWord(),
    default="virtio",
    show_default=True,
    metavar="NAME|FILE.toml",
    shell_complete=_complete_machines,
    help=f"The hardware: one of {', '.join(machine_names())}, or a machine file.",
)
devices = click.option(
    "--device",
    "devices",
    multiple=True,
    type=InputWord(device_files),
    metavar="ARG",
    shell_complete=_complete_devices,
    help="Add a device, as QEMU's -device, or by a short name (disk, nic, tpm; --list-devices).",
)
append = click.option("--append", default="", metavar="WORDS", help="Words for the kernel's command line.")
memory = click.option(
    "--memory",
    metavar="auto|SIZE",
    help="The guest's memory. Default: what the machine says, else auto, estimated from the image.",
)
accel = click.option(
    "--accel",
    type=click.Choice(["auto", "kvm", "tcg"]),
    default="auto",
    show_default=True,
    help="Hardware virtualisation (kvm), or emulation (tcg). auto takes KVM if it works.",
)
ledger_out = click.option(
    "--ledger-out", type=OutputPath("the ledger"), metavar="FILE", help="Write the boot's ledger to FILE."
)

icount = click.option(
    "--icount", is_flag=True, help="Count time by instructions: slow, and repeatable to 1 %."
)
pvh = click.option(
    "--pvh",
    is_flag=True,
    help="Under emulation: unpack the kernel here, once, and enter it by PVH, which saves 2.5 s of processor time. "
    "It has no KASLR and no video modes then.",
)
cpus = click.option(
    "--cpus", type=click.IntRange(1, 255), metavar="N", help="How many CPUs. Default: the machine's."
)
shares = click.option(
    "--share",
    "shares",
    multiple=True,
    type=InputWord(lambda text: [Path(text.partition(":")[0])]),
    metavar="DIR[:PLACE][:ro]",
    help="Mount a folder of this machine in the guest, at the same path or at PLACE.",
)
share_by = click.option(
    "--share-by",
    type=click.Choice([one.value for one in Transport]),
    default=Transport.NINE_P.value,
    show_default=True,
    help="What carries shared folders: 9p, or virtiofs, which is faster, takes virtiofsd, and may show a change here a "
    "second late.",
)
network = click.option("--network", is_flag=True, help="A network card that reaches other machines.")
forwards = click.option(
    "--forward",
    "forwards",
    multiple=True,
    metavar="PORT:GUESTPORT",
    help="A network card, and a port of this machine that leads to one of the guest's. Also udp:PORT:GUESTPORT.",
)
dtb = click.option(
    "--dtb",
    type=InputPath(),
    metavar="FILE",
    help="The device tree (.dtb) that the kernel gets instead of QEMU's own; for arm64 and riscv64.",
)
qemu_args = click.option(
    "--qemu-arg",
    "qemu_args",
    multiple=True,
    metavar="WORDS",
    help="More of QEMU's own arguments, behind all others: --qemu-arg '-rtc base=2030-01-01'.",
)
cwd = click.option(
    "--cwd",
    metavar="DIR",
    help="Where the command runs. Default: this directory if it is shared with the guest, else /root.",
)
own_name = click.option(
    "--name", metavar="NAME", help="Let others reach the guest while it runs here: plug, exec, why, stop."
)
dry_run = click.option("--dry-run", is_flag=True, help="Print the QEMU command and do nothing.")
verbose = click.option(
    "--verbose", is_flag=True, help="Show the guest's whole console, the kernel's log too."
)


def guest(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the argument IMAGE and the options of what is booted; it gets them as `guest`, one value."""
    image = click.argument("image", type=InputPath(beside=files_beside))
    return _with_guest(command, image, boot_kernel)


def guest_to_be(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command that makes the image itself the same options, without image and kernel, as `guest`."""
    return _with_guest(command)


def _with_guest(command: Callable[..., Any], *booted: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(command)
    def call(**given: Any) -> Any:  # noqa: ANN401
        from hostbuild.live.options import GuestOptions, split_words

        options = GuestOptions(
            image=given.pop("image") if booted else Path(),
            kernel=given.pop("kernel") if booted else None,
            machine=read_machine(given.pop("machine_name"), given.pop("devices")),
            shares=tuple(map(parse_share, given.pop("shares"))),
            share_by=Transport(given.pop("share_by")),
            forwards=tuple(map(parse_forward, given.pop("forwards"))),
            qemu=tuple(word for text in given.pop("qemu_args") for word in split_words(text)),
            **{
                key: given.pop(key)
                for key in ("append", "memory", "accel", "icount", "cpus", "network", "pvh", "dtb")
            },
        )
        return command(guest=options, **given)

    decorated: Callable[..., Any] = call
    what = (*booted, machine, devices, cpus, memory, append)
    around = (shares, share_by, network, forwards, accel, icount, pvh, dtb, qemu_args)
    for option in reversed((*what, *around)):
        decorated = option(decorated)
    return decorated


def _list_devices(ctx: click.Context) -> None:
    from hostbuild.commands._common import own_words
    from hostbuild.qemu.catalog import describe_catalog, read_catalog, render_catalog

    if "--json" in own_words(ctx):  # whichever stands first: this option ends the command
        ui.print_json(describe_catalog(read_catalog()))
    else:
        click.echo(render_catalog(read_catalog()))
    ctx.exit()


words = click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[-- COMMAND ARG...]")
list_devices = click.option(
    "--list-devices",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=lambda ctx, _param, wanted: _list_devices(ctx) if wanted else None,
    help="List the devices that --device and machine files take.",
)

# What a command that makes the image itself takes into it.
selection = click.option(
    "--modules",
    "selection",
    metavar="WORDS",
    help="Which of the kernel's modules come along, as make-image has it. Default: all of a tree's that has less than "
    "64 MiB of them, else qemu.",
)
overlays = click.option(
    "--overlay",
    "overlays",
    multiple=True,
    type=InputPath(inside=True),
    help="Lay a directory over the image.",
)
firmware_dirs = click.option(
    "--firmware-dir",
    "firmware_dirs",
    multiple=True,
    type=InputPath(),
    help="Where firmware is, before /lib/firmware.",
)

strip = click.option(
    "--strip",
    is_flag=True,
    help="Cut signatures, type information (BTF) and debug sections out of the modules: they take less room and load "
    "faster. A kernel that checks signatures is tainted by them, and one that demands signatures is refused.",
)


class ArchType(click.ParamType[Arch]):
    """An architecture's name."""

    name = "ARCH"

    def convert(
        self,
        value: str | Arch,
        param: click.Parameter | None,  # noqa: ARG002
        ctx: click.Context | None,  # noqa: ARG002
    ) -> Arch:
        """Parse it. Raises UsageError."""
        return value if isinstance(value, Arch) else parse_arch(value)

    def shell_complete(
        self,
        ctx: click.Context,  # noqa: ARG002
        param: click.Parameter,  # noqa: ARG002
        incomplete: str,
    ) -> list[CompletionItem]:
        """Offer Debian's names."""
        names = [one.value for one in Arch if one.value.startswith(incomplete)]
        return [CompletionItem(name) for name in names]


arch = click.option(
    "--arch",
    type=ArchType(),
    metavar="ARCH",
    help="Build for amd64, arm64 or riscv64, from Debian's packages of it. Default: the kernel's, which is this "
    "machine's where none is named.",
)
# Whose modules.
kernel = click.option(
    "--kernel",
    type=InputWord(),
    metavar="KERNEL",
    help=f"{_KERNELS} Default: the running kernel if it can be read, else deb:linux-image-amd64.",
)
modules_dir = click.option(
    "--modules-dir",
    type=InputPath(),
    metavar="DIR",
    help="The kernel's modules, if not beside it or in /lib/modules.",
)


def timeout(default: float | None = None) -> Callable[[_Command], _Command]:
    """Return the option --timeout of a command that boots a machine; None: no limit of its own."""
    return click.option(
        "--timeout",
        type=click.FloatRange(min=1),
        default=default,
        show_default=default is not None,
        metavar="S",
        help="End the machine after S seconds.",
    )


def as_json(what: str) -> Callable[[_Command], _Command]:
    """Return the option --json of a command that prints `what`."""
    return click.option("--json", "as_json", is_flag=True, help=f"Print {what} as JSON.")
