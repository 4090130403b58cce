"""hostbuild/commands/_options.py: an option that several commands have means, and says, the same in each."""

import importlib

import click
import pytest

from hostbuild.main import hostbuild

BOOTING = ("run", "boot", "prove", "ram", "demo")
OF_KERNELS = ("make-image", "predict")


def command_of(name: str) -> click.Command:
    """The command of this name."""
    found = hostbuild.get_command(click.Context(hostbuild), name)
    assert found is not None, name
    return found


def option(command: str, name: str) -> click.Option | None:
    """The command's option of this name; None if it has none."""
    found = command_of(command)
    return next((one for one in found.params if isinstance(one, click.Option) and name in one.opts), None)


@pytest.mark.parametrize(
    ("commands", "name"),
    [(BOOTING, name) for name in ("--kernel", "--machine", "--device", "--append", "--accel", "--ledger-out")]
    + [(OF_KERNELS, name) for name in ("--kernel", "--modules-dir")],
)
def test_shared_options_are_one(commands: tuple[str, ...], name: str) -> None:
    """Help, default, metavar and type of an option are the same in all commands of a kind that have it."""
    found = [one for command in commands if (one := option(command, name)) is not None]
    assert len(found) >= 2
    for one in found[1:]:
        assert (one.help, one.default, one.metavar, type(one.type), one.multiple) == (
            found[0].help,
            found[0].default,
            found[0].metavar,
            type(found[0].type),
            found[0].multiple,
        )


@pytest.mark.parametrize(
    "command",
    [
        "make-image",
        "run",
        "boot",
        "try",
        "check",
        "inspect",
        "tree",
        "report",
        "diff",
        "watch",
        "ram",
        "capture",
        "predict",
        "prove",
        "demo",
    ],
)
def test_every_option_has_help(command: str) -> None:
    """Nobody has to guess what an option does."""
    found = command_of(command)
    assert [one.opts[0] for one in found.params if isinstance(one, click.Option) and not one.help] == []


def test_every_option_of_kernel_has_help() -> None:
    """So do those of `hostbuild kernel`'s commands."""
    group = importlib.import_module("hostbuild.commands.kernel").command
    for command in group.commands.values():
        assert [one.opts[0] for one in command.params if isinstance(one, click.Option) and not one.help] == []
