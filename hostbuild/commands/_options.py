"""Options that several commands have: one definition each, so that they mean, and say, the same everywhere."""

import contextlib
from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from hostbuild.errors import HostbuildError
from hostbuild.fs.path_types import InputPath, InputWord, OutputPath
from hostbuild.qemu.device import device_files
from hostbuild.qemu.machine import machine_names


def _complete_devices(_ctx: click.Context, _param: click.Parameter, word: str) -> list[CompletionItem]:
    """Complete a device's name, with what it is; after a comma, its properties."""
    from hostbuild.qemu.catalog import completions

    with contextlib.suppress(HostbuildError):  # there is no QEMU to ask
        return [CompletionItem(value, help=help_) for value, help_ in completions(word)]
    return []


def _complete_machines(ctx: click.Context, param: click.Parameter, word: str) -> list[CompletionItem]:
    """Complete a machine's name, or else the path of a machine file."""
    named = [name for name in machine_names() if name.startswith(word)]
    return [CompletionItem(name) for name in named] or click.Path().shell_complete(ctx, param, word)


_Command = TypeVar("_Command", bound=Callable[..., Any])

# What is booted, on what.
boot_kernel = click.option(
    "--kernel",
    type=InputWord(),
    metavar="KERNEL",
    help="deb:PACKAGE, the path of a vmlinuz, or running. Default: the kernel that the image was built for.",
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
    help="The guest's memory. Default: what the machine says, else auto, which is reckoned from the image.",
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

# Whose modules.
kernel = click.option(
    "--kernel",
    type=InputWord(),
    metavar="KERNEL",
    help="deb:PACKAGE, the path of a vmlinuz, or running. "
    "Default: the running kernel if it can be read, else deb:linux-image-amd64.",
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
