"""The live table on a terminal, beside what else is said there."""

import os
import pty
import re
import subprocess
import sys

import pytest

from tests.support.places import PROJECT

_SAYS = """
import signal, time
from hostbuild import ui
from hostbuild.matrix.asked.cells import cells_of
from hostbuild.matrix.results.table import live_table
from tests.host.matrix.test_asked import spec_of

cells = cells_of(spec_of('kernels = ["k1", "k2"]\\nmachines = ["virtio"]\\n[tests.a]\\n[tests.b]'))
try:
    with live_table(cells, shown=True):
        ui.note("a worker boots no [bold]arm64[/bold] guests")
        time.sleep(0.6)
        ui.note("another does not answer")
        try:
            {ends}
        except KeyboardInterrupt:
            ui.note("1 of 4 cells is done, and kept")
            raise
except KeyboardInterrupt:
    ui.complain("hostbuild: interrupted")
"""


def screen_of(output: bytes) -> list[str]:
    """What stands on a terminal after its output: lines, cursor up, erased lines; colours are left out."""
    rows, at, column = [""], 0, 0
    for piece in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|[\r\n]|[^\x1b\r\n]+", output.decode()):
        if piece == "\r":
            column = 0
        elif piece == "\n":
            at += 1
            rows.extend([""] * (at + 1 - len(rows)))
        elif piece.endswith("A"):
            at = max(at - int(piece[2:-1] or 1), 0)
        elif piece == "\x1b[2K":
            rows[at] = ""
        elif not piece.startswith("\x1b"):
            rows[at] = rows[at][:column].ljust(column) + piece + rows[at][column + len(piece) :]
            column += len(piece)
    return [row.rstrip() for row in rows if row.strip()]


@pytest.mark.parametrize("ends", ["pass", "raise KeyboardInterrupt"])
def test_remarks_stay_when_the_table_is_gone(ends: str) -> None:
    """What is said while the table is drawn is neither drawn over nor wiped away with it, word for word."""
    master, slave = pty.openpty()
    try:
        with subprocess.Popen(
            [sys.executable, "-c", _SAYS.replace("{ends}", ends)],
            stdin=subprocess.DEVNULL,
            stdout=slave,
            stderr=slave,
            cwd=PROJECT,
            env=os.environ | {"TERM": "xterm", "COLUMNS": "80", "LINES": "24"},
        ) as process:
            os.close(slave)
            slave = -1
            output = b""
            while piece := _read(master):
                output += piece
            assert process.wait(timeout=40) == 0, output
    finally:
        os.close(master)
        if slave >= 0:
            os.close(slave)
    assert b"0 of 4 cells done" in output
    said = ["hostbuild: a worker boots no [bold]arm64[/bold] guests", "hostbuild: another does not answer"]
    if ends != "pass":
        said += ["hostbuild: 1 of 4 cells is done, and kept", "hostbuild: interrupted"]
    assert screen_of(output) == said


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    except OSError:  # EIO: nobody has the other end any more
        return b""
