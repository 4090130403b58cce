"""The command `hostbuild`: a table of its commands, and the one place where errors become exit statuses.

A command is a module of hostbuild.commands that holds a click command named `command`. It is imported when
it is called and not before, so that --help does not wait for libraries that it does not use. What a command
returns is the exit status (None is 0).
"""

import contextlib
import importlib
import importlib.util
import io
import keyword
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from hostbuild import interrupts, streams
from hostbuild.commands._common import debug, load_config, quiet, with_common
from hostbuild.commands.unknown import Group
from hostbuild.errors import ClosedPipeError, HostbuildError, InputError, WorldError
from hostbuild.fs.path_types import InputPath
from modaliasd.core.errors import EXIT_USAGE, EXIT_WORLD, ModaliasdError
from modaliasd.core.printable import printable

# name on the command line -> one line for --help; the module's name has `_` for `-`
_COMMANDS = {
    "demo": "Build an image, boot a zoo of hardware, plug and unplug, and tell what happened.",
    "make-image": "Build a micro-Linux: modules, busybox, CPython, the daemon, packed as an initramfs.",
    "run": "Boot an image in QEMU, for its console or for a command, and bring back the exit status.",
    "boot": "Boot a kernel's build tree, with its modules; what has changed is put anew.",
    "try": "Load a module of yours for its device in a guest, and say why it is bound, or why not.",
    "shell": "Open a shell in a guest, on this terminal.",
    "exec": "Run a command in a running guest.",
    "plug": "Plug a device into a running guest.",
    "unplug": "Unplug a device from a running guest.",
    "why": "Say why a module was loaded in a running guest, or why not.",
    "list": "List the guests that have a name.",
    "stop": "Switch running guests off.",
    "inspect": "List what is inside an image, also one made by another tool.",
    "check": "Say what of an image will not work, before it boots.",
    "tree": "Print a ledger as a tree: device, alias, modules, driver, time.",
    "report": "Show a boot: timeline, device tree, failures, as a page, a trace or a picture.",
    "diff": "Say what changed between two boots; exit 1 if a device lost its driver.",
    "watch": "Show a boot while it happens, from the ledger that it writes.",
    "cache": "Show what is kept between runs, and remove what nobody uses.",
    "ram": "Say how much memory an image needs to boot, and prove it.",
    "kernel": "Fetch, configure, check and build a kernel from source.",
    "capture": "Record this machine's devices to a file.",
    "predict": "Predict offline what a captured machine would load, and which devices stay without a driver.",
    "matrix": "Boot many kernels on many machines, for many tests; on several computers, if need be.",
    "prove": "Boot an image and show that the devices of a ledger bind to the same drivers.",
}

_EXAMPLES = """\b
Examples:
  hostbuild make-image -o micro.img
  hostbuild make-image -o micro.img --kernel ~/linux --modules virtio,e1000
  hostbuild run micro.img --device e1000 --device nvme,serial=1
  hostbuild run micro.img --share . -- sh -c 'insmod ./my.ko && dmesg | tail'
  hostbuild boot ~/linux -- modaliasd tree
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
        return with_common(command)

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except (OSError, UnicodeError) as e:
            raise _unforeseen(e) from e

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, _COMMANDS[name]) for name in self.list_commands(ctx)]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)


# Those that boot a guest for somebody, or are about one that runs, stand together; so do those that read images.
_OF_GUESTS = frozenset({"run", "boot", "try", "shell", "exec", "plug", "unplug", "why", "list", "stop"})
_OF_IMAGES = frozenset({"check", "inspect"})


def _module_name(command: str) -> str:
    room = "hostbuild.commands"
    if command in _OF_GUESTS:
        room += ".guests"
    elif command in _OF_IMAGES:
        room += ".images"
    module = command.replace("-", "_")
    return f"{room}.{module}_" if keyword.iskeyword(module) else f"{room}.{module}"


@click.group(
    cls=_LazyGroup,
    epilog=_EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="modaliasd", prog_name="hostbuild")
@click.option(
    "--config",
    type=InputPath(),
    metavar="FILE",
    help="Take defaults from FILE, not from the nearest hostbuild.toml.",
)
@click.option("--no-config", is_flag=True, help="Take no defaults from any file.")
@click.option("--quiet", is_flag=True, expose_value=False, callback=quiet, help="As behind a command.")
@click.option(
    "--debug", is_flag=True, is_eager=True, expose_value=False, callback=debug, help="As behind a command."
)
@click.pass_context
def hostbuild(ctx: click.Context, config: Path | None, no_config: bool) -> None:
    """Build, boot and examine micro-Linux images that load their kernel modules with modaliasd."""
    if not no_config and not ctx.resilient_parsing:
        load_config(ctx, hostbuild, config)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and leave the process with its status; never returns."""
    streams.guard()
    interrupts.guard()
    try:
        sys.exit(status_of(argv))
    finally:
        streams.leave()


def status_of(argv: Sequence[str] | None = None) -> int:
    """Run the command line (sys.argv's where None); errors are printed on stderr and become statuses.

    Errors of the system that a command did not foresee become messages, too; a traceback is a bug of ours.
    """
    try:
        status = _run(argv)
        sys.stdout.flush()
    except ClosedPipeError as e:
        return e.exit_status
    except click.ClickException as e:
        said = io.StringIO()
        e.show(said)
        _say(lambda: click.echo(_shown(said.getvalue().rstrip("\n")), err=True))
        return EXIT_USAGE if isinstance(e, click.UsageError) else e.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _tell("interrupted", interrupts.status_by(signal.SIGINT))
    except HostbuildError as e:
        return _tell(str(e), e.exit_status, hint=e.hint, notes=getattr(e, "__notes__", ()))
    except ModaliasdError as e:
        return _tell(str(e), e.exit_status)
    except MemoryError:
        return _tell("not enough memory on this machine", EXIT_WORLD, hint="see `free -m` and `ulimit -v`")
    except RecursionError:
        return _tell("an input is nested too deeply", EXIT_USAGE)
    return status


def _run(argv: Sequence[str] | None) -> int:
    result = hostbuild.main(None if argv is None else list(argv), "hostbuild", standalone_mode=False)
    return result if isinstance(result, int) else 0


def _unforeseen(error: OSError | UnicodeError) -> HostbuildError:
    """Put an error of the system into words that no command had for it."""
    if isinstance(error, UnicodeDecodeError):
        return InputError(f"an input is not text: {error}")
    if isinstance(error, UnicodeError):
        return WorldError(
            f"text that cannot be read or written in this encoding: {error}", hint="LC_ALL=C.UTF-8"
        )
    if error.filename is not None:
        names = " -> ".join(
            os.fsdecode(name) for name in (error.filename, error.filename2) if name is not None
        )
        return WorldError(f"{names}: {error.strerror or error}")
    if "temporary directory" in str(error):  # tempfile's words, where it finds none
        return WorldError(
            str(error.strerror), hint="set TMPDIR to a directory with room that you may write to"
        )
    return WorldError(f"the system refused: {error.strerror or error}")


def _tell(message: str, status: int, *, hint: str = "", notes: Sequence[str] = ()) -> int:
    """Print an error on stderr and give its status."""
    lines = [
        f"hostbuild: {message}",
        *(f"hostbuild: {note}" for note in notes),
        *([f"hint: {hint}"] if hint else []),
    ]
    _say(lambda: click.echo(_shown("\n".join(lines)), err=True))
    return status


def _shown(text: str) -> str:
    """Return the text, whose lines may quote files, guests and other programs, as what may go to a terminal."""
    return "\n".join(map(printable, text.split("\n")))


def _say(write: Callable[[], None]) -> None:
    """Write to stderr; where that fails, only the status is left to tell."""
    with contextlib.suppress(OSError):
        write()
