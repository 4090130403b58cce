"""What the daemon's boot path imports: every module is time at every boot, and needs a reason to be here."""

import subprocess
import sys
from pathlib import Path

DAEMON = Path(__file__).resolve().parent.parent / "daemon"

# What the standard library may bring beyond what the interpreter has at its start. Those with an underscore,
# binascii, errno, gc and select are C; the rest is paid for in bytecode.
ALLOWED = {
    "__future__",
    "_bisect",
    "_collections",
    "_heapq",
    "_socket",
    "_struct",
    "binascii",
    "errno",
    "fcntl",
    "gc",
    "select",
}


def imported_by(statement: str) -> set[str]:
    """The modules that a statement imports in a bare interpreter, as the image starts it (-S, no site)."""
    code = f"import sys; sys.path.insert(0, {str(DAEMON)!r}); before = set(sys.modules)\n{statement}\n"
    code += "print(*sorted(set(sys.modules) - before), sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_the_boot_path_imports_only_what_it_needs() -> None:
    """`modaliasd run` brings its own modules, and of the standard library only those in ALLOWED."""
    names = imported_by("import modaliasd.cli, modaliasd.service.boot")
    foreign = {name for name in names if name.partition(".")[0] != "modaliasd"}
    assert foreign - ALLOWED == set()
    assert "modaliasd.service.loop" in names


def test_the_boot_path_brings_no_other_command() -> None:
    """What `why`, `tree`, `match` and the others need is not imported for `run`, nor what only wrong usage needs."""
    names = imported_by("import modaliasd.cli, modaliasd.service.boot")
    assert not {name for name in names if name.startswith("modaliasd.commands")}
    ledger = {name for name in names if name.startswith("modaliasd.core.ledger.")}
    assert ledger == {"modaliasd.core.ledger.write"}
    assert not names & {"modaliasd.core.near", "modaliasd.failure", "modaliasd.core.kmod.tables"}


# What ears.py brings, and nothing before it: uevents and clients are heard once the first modprobe has been started.
DEFERRED = {
    "modaliasd.core.uevent.doubt",
    "modaliasd.core.uevent.relay",
    "modaliasd.core.uevent.sequence",
    "modaliasd.linux.control",
    "modaliasd.service.clients",
    "modaliasd.service.clients.serve",
    "modaliasd.service.clients.waiters",
    "modaliasd.service.ears",
    "modaliasd.service.intake",
}


def test_what_the_first_modprobe_does_not_wait_for_is_imported_later() -> None:
    """The boot path is without what hears of uevents and clients; all of that comes by one module."""
    boot_path = imported_by("import modaliasd.cli, modaliasd.service.boot")
    assert not DEFERRED & boot_path
    with_ears = imported_by("import modaliasd.cli, modaliasd.service.boot, modaliasd.service.ears")
    assert {name for name in with_ears - boot_path if name.startswith("modaliasd")} == DEFERRED
