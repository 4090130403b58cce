"""The command `hostbuild`: a table of its commands, and the one place where errors become exit statuses.

A command is a module of hostbuild.commands that holds a click command named `command`. It is imported when
it is called and not before, so that --help does not wait for libraries that it does not use. What a command
returns is the exit status (None is 0).
"""

import importlib
import importlib.util
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from hostbuild.commands.unknown import Group
from hostbuild.errors import HostbuildError
from modaliasd.core.errors import EXIT_USAGE, ModaliasdError

# name on the command line -> one line for --help; the module's name has `_` for `-`
_COMMANDS = {
    "demo": "Build an image, boot a zoo of hardware, plug and unplug, and tell what happened.",
    "make-image": "Build a micro-Linux: modules, busybox, CPython, the daemon, packed as an initramfs.",
    "run": "Boot an image in QEMU and bring back its exit status and its ledger.",
    "inspect": "List what is inside an image, also one made by another tool.",
    "tree": "Print a ledger as a tree: device, alias, modules, driver, time.",
    "report": "Show a boot: timeline, device tree, failures, as a page, a trace or a picture.",
    "diff": "Say what changed between two boots; exit 1 if a device lost its driver.",
    "watch": "Show a boot while it happens, from the ledger that it writes.",
    "ram": "Say how much memory an image needs to boot, and prove it.",
    "kernel": "Fetch, configure, check and build a kernel from source.",
    "capture": "Record this machine's devices to a file.",
    "predict": "Foretell offline what a captured machine would load, and which devices stay without a driver.",
    "prove": "Boot an image and show that the devices of a ledger bind to the same drivers.",
}

_EXAMPLES = """\b
Examples:
  hostbuild make-image -o micro.img
  hostbuild make-image -o micro.img --kernel deb:linux-image-amd64 --modules virtio,e1000
  hostbuild run micro.img --device e1000 --device nvme,serial=1
  hostbuild inspect micro.img --files
"""


class _LazyGroup(Group):
    """A group that knows its commands' names and one-line helps without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return [name for name in _COMMANDS if importlib.util.find_spec(_module_name(name))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        command = importlib.import_module(_module_name(cmd_name)).command
        assert isinstance(command, click.Command), cmd_name
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, _COMMANDS[name]) for name in self.list_commands(ctx)]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)


def _module_name(command: str) -> str:
    return f"hostbuild.commands.{command.replace('-', '_')}"


@click.group(
    cls=_LazyGroup,
    epilog=_EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="modaliasd", prog_name="hostbuild")
def hostbuild() -> None:
    """Build, boot and examine micro-Linux images that load their kernel modules with modaliasd."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and leave the process with its status; never returns."""
    signal.signal(signal.SIGTERM, _end)
    sys.exit(status_of(argv))


def _end(*_: object) -> NoReturn:
    """End as on an error, so that what is half-written is removed; the clearing up is not interrupted."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(128 + signal.SIGTERM)  # as a shell counts


def status_of(argv: Sequence[str] | None = None) -> int:
    """Run the command line (sys.argv's where None); errors are printed on stderr and become statuses.

    Whoever closes the pipe that we write to ends the process with status 1, in silence: click does that.
    """
    try:
        result = hostbuild.main(None if argv is None else list(argv), "hostbuild", standalone_mode=False)
    except click.UsageError as e:
        e.show()
        return EXIT_USAGE
    except click.ClickException as e:
        e.show()
        return e.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("hostbuild: interrupted", err=True)
        return 130  # 128 + SIGINT, as a shell counts
    except HostbuildError as e:
        click.echo(f"hostbuild: {e}", err=True)
        if e.hint:
            click.echo(f"hint: {e.hint}", err=True)
        return e.exit_status
    except ModaliasdError as e:
        click.echo(f"hostbuild: {e}", err=True)
        return e.exit_status
    return result if isinstance(result, int) else 0
