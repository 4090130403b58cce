"""The command `coldplug`: a new walk of /sys by the daemon, one without a daemon, or only what one would load."""

from __future__ import annotations

import posix
import sys

from modaliasd.commands.ask import ask_daemon, succeeded
from modaliasd.commands.options import Option, Syntax, parse
from modaliasd.core.errors import UsageError, WorldError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from modaliasd.commands.options import Arguments
    from modaliasd.linux.lock import HeldError

COLDPLUG = Syntax(
    "coldplug",
    """\
Has the daemon walk /sys again, and waits until it has settled. With --once no daemon is needed: this process
loads what the devices present ask for, settles and exits. Where a daemon runs, it does the work.

With --dry-run nothing is loaded, and nothing written: it says which modules would be, for which device, by which
line, and what would be refused. That works for any user, on any machine, with its own modules and modprobe.d.
""",
    (
        ("coldplug", "look for devices again"),
        ("coldplug --once", "load everything without leaving a daemon behind"),
        ("coldplug --dry-run", "what --once would load here, and why"),
        ("coldplug --dry-run --modules-dir /srv/tree/lib/modules/6.9.0", "what another kernel's modules would be"),
    ),
    (
        Option("--once", "do it in this process, without a daemon"),
        Option("--dry-run", "only say what --once would do"),
        Option("--all", "(--dry-run) name also what is loaded already, and the devices that nothing matches"),
        Option("--json", "(--dry-run) print one JSON object"),
        Option("--modules-dir", "(--dry-run) the module tree; default: the running kernel's", "DIR"),
        Option("--config-root", "(--dry-run) where to look for etc/modprobe.d and the like; default: /", "DIR"),
    ),
    statuses="1 if a load failed (--once)",
)  # fmt: skip
_DRY = ("--all", "--json", "--modules-dir", "--config-root")


def run(arguments: list[str]) -> int:
    """Have /sys walked again; with --once do all of it here, 1 if a load failed."""
    given = parse(COLDPLUG, arguments)
    if given.given("--dry-run"):
        if given.given("--once"):
            raise UsageError("coldplug: `--once` loads, and `--dry-run` does not: give one of them")
        return _dry_run(given)
    for name in _DRY:
        if given.given(name):
            raise UsageError(f"coldplug: `{name}` needs `--dry-run`")
    if not given.given("--once"):
        return succeeded("coldplug", ["coldplug"], None)
    from modaliasd.linux.fullsystem.moduletree import require_tree
    from modaliasd.linux.lock import HeldError
    from modaliasd.service.boot import serve

    try:
        status = serve(once=True)
    except HeldError as e:
        return _coldplug_by(e)
    if status == WorldError.exit_status:
        require_tree(posix.uname().release)  # raises it in words, which so far stand in the ledger only
    return status


def _coldplug_by(holder: HeldError) -> int:
    """Have the daemon that holds the lock do the work; raises the error itself where that is no daemon that answers."""
    try:
        answer = ask_daemon("coldplug", ["coldplug"], None)
    except WorldError as e:
        raise holder from e
    return int(answer is None or bool(answer.get("failed")))


def _dry_run(given: Arguments) -> int:
    from modaliasd.commands.dryrun import as_json, as_text
    from modaliasd.commands.machine import open_machine
    from modaliasd.linux.fullsystem.moduletree import NoModulesError

    try:
        machine = open_machine(
            given.value("--modules-dir", ""), config_root=given.value("--config-root", "/")
        )
    except NoModulesError as e:
        if given.given("--json"):
            raise
        sys.stdout.write(f"{e}\n")
        return 0
    rehearsal = machine.rehearse()
    if given.given("--json"):
        sys.stdout.write(as_json(machine, rehearsal))
        return 0
    sys.stdout.write(as_text(machine, rehearsal, everything=given.given("--all")))
    return 0
