"""Reads a ledger file back, or looks at the machine where there is none: for the commands that explain."""

from __future__ import annotations

import posix
import sys

from modaliasd.core.errors import FormatError, WorldError
from modaliasd.core.ledger import read
from modaliasd.core.ledger.history import history_of
from modaliasd.core.printable import printable
from modaliasd.linux.paths import LEDGER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from modaliasd.core.ledger.history import History


def read_here(command: str, modules_dir: str = "") -> History:
    """Read the daemon's ledger; where none has run here, look at the machine as it is now, and say so.

    modules_dir: the tree to look into then; "" for the running kernel's. Raises WorldError as both do.
    """
    if posix.access(LEDGER, posix.F_OK):
        return read_history(LEDGER)
    from modaliasd.commands.machine import open_machine

    machine = open_machine(modules_dir)
    sys.stderr.write(
        f"modaliasd {command}: there is no {LEDGER}: this is how /sys and {printable(machine.modules_dir)} are now; "
        "`modaliasd run --observe` tells what happens from then on\n"
    )
    return machine.history()


def read_history(path: str) -> History:
    """Read what the ledger tells; lines that are no records are skipped, and told of on standard error.

    Raises WorldError where the file cannot be read or is not a ledger.
    """
    reader = read.LedgerReader()
    try:
        with open(path, "rb") as file:
            history = history_of(read.read_records(reader, iter(lambda: file.read(read.PIECE), b"")))
    except OSError as e:
        raise WorldError(f"cannot read the ledger {path}: {e.strerror}") from e
    except FormatError as e:
        raise WorldError(f"{path} is not a ledger: {e}") from e
    tell_skipped(path, reader.skipped)
    return history


def tell_skipped(path: str, skipped: read.Skipped) -> None:
    """Say on stderr how many lines were skipped, and why; nothing where none was."""
    if skipped.count:
        sys.stderr.write(printable(f"modaliasd: in {path}, {skipped}") + "\n")
