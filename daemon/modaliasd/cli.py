"""The command line: one table of commands; each one's module is imported only when it is asked for.

`modaliasd run` is the boot path: nothing is imported for it that it does not need.
"""

from __future__ import annotations

import gc
import posix
import sys

from modaliasd import __version__
from modaliasd.core.errors import UsageError
from modaliasd.linux.paths import FAILURE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# Each group's commands: name, operands as `modaliasd --help` shows them, "module:function" to be called with the
# arguments behind the name, one line of what it does. A constant: making it costs the boot path nothing. A function
# takes its arguments apart by the Syntax that its module declares (options.py).
COMMANDS = (
    (
        "the daemon",
        (
            ("run", "", "modaliasd.commands.run:run", "load for present devices, then for new ones"),
            ("coldplug", "", "modaliasd.commands.coldplug:run", "walk /sys again; --once: without a daemon; --dry-run"),
            ("root", "", "modaliasd.commands.root:run", "mount what root= names at /sysroot (1: it is not there)"),
        ),
    ),
    (
        "asking the daemon",
        (
            ("settle", "", "modaliasd.commands.ask:settle", "wait until nothing is left to do (1: too late)"),
            ("wait", "DEVICE", "modaliasd.commands.ask:wait", "wait for a device, driver or module (1: too late)"),
            ("status", "", "modaliasd.commands.ask:status", "print what the daemon is doing"),
            ("load", "MODULE...", "modaliasd.commands.ask:load", "load modules by name, recorded in the ledger"),
            ("freeze", "", "modaliasd.commands.ask:freeze", "from now on load only what the policy allows"),
            ("may-load", "NAME", "modaliasd.commands.ask:may_load", "whether the policy allows a name (1: denied)"),
            ("settled-script", "STATUS PATH", "modaliasd.commands.ask:settled_script", "record its failure"),
            ("poweroff", "[STATUS]", "modaliasd.commands.ask:poweroff", "end the ledger and switch the machine off"),
        ),
    ),
    (
        "reading",
        (
            ("tree", "", "modaliasd.commands.tree:run", "devices, their matches, loads and drivers"),
            ("why", "MODULE|DEVICE", "modaliasd.commands.why:run_why", "what caused a load; what became of a device"),
            ("why-not", "MODULE", "modaliasd.commands.why:run_why_not", "why a module is not loaded or drives nothing"),
            ("ledger", "", "modaliasd.commands.ledger:run", "print the ledger; follow it as it grows"),
            ("audit", "", "modaliasd.commands.audit:run", "compare the ledger with libudev (1: they disagree)"),
            ("check-config", "", "modaliasd.commands.check_config:run", "find mistakes in the configuration"),
            ("match", "MODALIAS...|-", "modaliasd.commands.match:run", "modules that match a modalias (1: none)"),
        ),
    ),
)  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Run a command; its exit status. 100: wrong usage, 111: the system lacks something, or a bug of ours."""
    arguments = sys.argv[1:] if argv is None else argv
    try:
        return _run(arguments)
    except BrokenPipeError:
        return 0
    except KeyboardInterrupt:
        return 130  # 128 and SIGINT, as a shell has it
    except Exception as e:  # noqa: BLE001 - whatever it is, people get a line and not a traceback
        from modaliasd.failure import report

        return report(arguments[0] if arguments else "", e)


def _run(arguments: list[str]) -> int:
    if arguments == ["root", "--run"]:
        from modaliasd.rootfs.boot import boot

        return boot(run=True)
    if arguments == ["run"]:
        if _has_failed():
            from modaliasd.failure import wait_before_start

            wait_before_start()
        gc.disable()  # what is imported stays: the collector would take 3 % of the way to the first modprobe
        from modaliasd.service.boot import serve

        return serve()
    if not arguments:
        sys.stdout.write(overview())
        return UsageError.exit_status
    name, *rest = arguments
    if name == "help":
        name, rest = (rest[0], ["--help"]) if rest else ("--help", [])
    if name in {"-h", "--help"}:
        sys.stdout.write(overview())
        return 0
    if name in {"-V", "--version"}:
        sys.stdout.write(f"modaliasd {__version__}\n")
        return 0
    command = find_command(name)
    from modaliasd.commands.options import HelpWanted

    try:
        return command(rest)
    except HelpWanted as wanted:
        sys.stdout.write(str(wanted))
        return 0


def _has_failed() -> bool:
    """Return whether a daemon before this one failed in this boot; a system call, and no more, where none did."""
    try:
        posix.stat(FAILURE)
    except OSError:
        return False
    return True


def _has_root_part() -> bool:
    """Return whether this image was made with it."""
    try:
        import modaliasd.rootfs  # noqa: F401
    except ImportError:
        return False
    return True


def _without_root_part(arguments: list[str]) -> int:
    """Answer `root` in an image that was made without it. Raises UsageError for everything but --help."""
    why = "this image cannot mount a root file system; make one that can: make-image --with root"
    if arguments not in (["--help"], ["-h"]):
        raise UsageError(why)
    sys.stdout.write(f"usage: modaliasd root\n\nMounts what root= names at /sysroot; but {why}\n")
    return 0


def find_command(name: str) -> Callable[[list[str]], int]:
    """Import the command `name` and return its function. Raises UsageError where there is none."""
    targets = {name: target for _, commands in COMMANDS for name, _, target, _ in commands}
    if name not in targets:
        from modaliasd.core.near import did_you_mean

        near = did_you_mean(name, targets) or "."
        raise UsageError(f"unknown command `{name}`{near} Commands: {', '.join(targets)}")
    module, _, function = targets[name].partition(":")
    if name == "root" and not _has_root_part():
        return _without_root_part
    found: Callable[[list[str]], int] = getattr(__import__(module, fromlist=[function]), function)
    return found


def overview() -> str:
    """Return what `modaliasd --help` prints."""
    from modaliasd.commands.options import columns

    text = """\
usage: modaliasd COMMAND [ARGUMENT...]

Loads the kernel modules that this machine's devices ask for, and says which
device caused each load.
"""
    for group, commands in COMMANDS:
        rows = [(f"{name} {operands}".rstrip(), summary) for name, operands, _, summary in commands]
        text += f"\n{group}:\n{columns(rows)}"
    return (
        text
        + """
`modaliasd COMMAND --help` says more about a command. docs/ledger.md describes
the ledger, /run/modaliasd/ledger.jsonl; docs/settings.md the words of the
kernel's command line.
"""
    )
