"""What a failed test's report says of its guest: the tree of its devices, the ledger's last lines, the kernel's."""

from collections.abc import Sequence
from contextlib import suppress

from hostbuild.errors import HostbuildError
from hostbuild.qemu.transcript import tail
from hostbuild.testing.execute import execute
from hostbuild.testing.guest import Guest
from modaliasd.core.ledger.history import history_of
from modaliasd.core.ledger.text_line import record_line
from modaliasd.core.ledger.text_tree import render_tree
from modaliasd.core.printable import printable

_TREE_LINES = 100
_LEDGER_LINES = 25
_DMESG_LINES = 40
_DMESG_S = 10.0  # a guest that hangs does not hold the report


def sections(guest: Guest, since: int) -> list[tuple[str, str]]:
    """Return the report's sections, headline and text. since: how many records there were when the test began."""
    records = guest.ledger
    history = history_of(records)
    tree = render_tree(history).splitlines()
    if len(tree) > _TREE_LINES and since < len(records):
        tree = render_tree(history, since_us=int(records[since].get("t_us", 0))).splitlines()
    plugged = ", ".join(map(str, guest.plugged)) or "nothing"
    return [
        (f"guest: its tree ({guest.machine.name}, plugged in: {plugged})", _lines(tree, _TREE_LINES)),
        ("guest: the ledger's last lines", _lines(list(map(record_line, records)), _LEDGER_LINES)),
        ("guest: the kernel's last lines", _lines(_kernel_log(guest).splitlines(), _DMESG_LINES)),
    ]


def _kernel_log(guest: Guest) -> str:
    if guest.vm.running:
        with suppress(HostbuildError):
            return execute(guest.vm, "dmesg", timeout=_DMESG_S).stdout
    return tail(guest.vm.console, _DMESG_LINES)


def _lines(lines: Sequence[str], count: int) -> str:
    more = len(lines) - count
    kept = [f"({more} lines before these)", *lines[-count:]] if more > 0 else lines
    return "\n".join(map(printable, kept))
