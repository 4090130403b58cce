"""Takes pictures of a terminal in which commands run: docs/images/terminal-*.svg.

    make terminal-shots                    # all of them; guests are booted: some minutes
    make terminal-shots SHOTS="run plug"

The commands are typed into a shell on a terminal of 80 columns, and what stands on its screen at the end is drawn:
letters as letters, for any browser, without network. They work in a folder of their own.
"""

import contextlib
import fcntl
import io
import itertools
import os
import pty
import re
import select
import signal
import struct
import sys
import tempfile
import termios
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.style import Style
from rich.text import Text

from hostbuild.errors import HostbuildError, UsageError, WorldError
from hostbuild.fs.files import write_file
from scripts.picture import FORMAT

COLUMNS, ROWS = 80, 40
IMAGES = Path(__file__).resolve().parents[1] / "docs/images"
_PROMPT = r"^\$ $"
_GUEST = r"^micro:\S*# $"
_STEP_S = 600.0  # until a step's text is there
_STILL_S = 0.5  # without a change, before a screen is taken for done
# What a screen calls a colour, where rich calls it otherwise.
_COLORS = {"brown": "yellow"}
_SETTINGS = 'accel = "tcg"\n'
_MATRIX = """machines = ["virtio", "q35", "i440fx"]
accel = "tcg"

[kernels]
stable = "deb:linux-image-amd64"
testing = "deb:linux-image-amd64/trixie"

[tests.loads]
command = "modprobe loop && test -d /sys/module/loop"
"""


@dataclass(frozen=True, slots=True)
class Shot:
    """A picture. steps: what is waited for (a regular expression on a line of the screen), and what is then typed."""

    name: str
    steps: tuple[tuple[str, str], ...]
    end: str = _PROMPT
    before: tuple[str, ...] = ()  # commands that are run, and not shown
    after: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        """Where it is."""
        return IMAGES / f"terminal-{self.name}.svg"

    @property
    def commands(self) -> tuple[str, ...]:
        """What is typed in it."""
        return tuple(typed for _, typed in self.steps)


SHOTS = (
    Shot(
        "run",
        ((_PROMPT, "hostbuild run micro.img --device nvme,serial=1"), (_GUEST, "modaliasd why nvme")),
        end=_GUEST,
    ),
    Shot(
        "plug",
        (
            (_PROMPT, "hostbuild plug box usb-storage"),
            (_PROMPT, "hostbuild why box usb_storage"),
        ),
        before=("hostbuild run micro.img --device qemu-xhci --detach box",),
        after=("hostbuild stop box",),
    ),
    Shot("watch", ((_PROMPT, "hostbuild run micro.img --machine q35 --watch --exit-when-settled"),)),
    Shot("matrix", ((_PROMPT, "hostbuild matrix matrix.toml --workers 2"),), end=r"^[3-9] of 6 cells done"),
)


def main(names: Sequence[str]) -> int:
    """Take the pictures of these names, or all."""
    unknown = set(names) - {shot.name for shot in SHOTS}
    if unknown:
        raise UsageError(
            f"no such picture: {', '.join(sorted(unknown))}", hint=" ".join(shot.name for shot in SHOTS)
        )
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        folder = Path(place)
        (folder / "hostbuild.toml").write_text(_SETTINGS)
        (folder / "matrix.toml").write_text(_MATRIX)
        _type(folder, ("hostbuild make-image -o micro.img",))
        for shot in SHOTS:
            if not names or shot.name in names:
                _type(folder, shot.before)
                try:
                    write_file(shot.path, draw(take(shot, folder), shot.name).encode(), "the picture")
                finally:
                    _type(folder, shot.after)
                sys.stderr.write(f"{shot.path}\n")
    return 0


def take(shot: Shot, folder: Path) -> list[Text]:
    """Type a picture's commands; return the lines of the screen. Raises WorldError where a text does not come."""
    with _terminal(folder) as terminal:
        for awaited, typed in shot.steps:
            terminal.wait_for(awaited)
            terminal.type(typed)
        terminal.wait_for(shot.end)
        return terminal.lines()


def draw(lines: Sequence[Text], name: str) -> str:
    """Return the picture of a terminal with these lines."""
    console = Console(
        record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )
    for line in (*lines, Text()):  # the last line's underscores would be cut off
        console.print(line, soft_wrap=True)
    return console.export_svg(title=" ", code_format=FORMAT, unique_id=f"shot-{name}")


def _type(folder: Path, commands: Sequence[str]) -> None:
    with _terminal(folder) as terminal:
        for command in commands:
            terminal.wait_for(_PROMPT)
            terminal.type(command)
        terminal.wait_for(_PROMPT)


class _Terminal:
    """A terminal's keyboard, `keys`, and its screen."""

    def __init__(self, keys: int) -> None:
        import pyte

        self._keys = keys
        self._screen: Any = pyte.Screen(COLUMNS, ROWS)
        # busybox's shell asks where the cursor is
        self._screen.write_process_input = lambda data: os.write(keys, data.encode())
        self._stream: Any = pyte.ByteStream(self._screen)

    def type(self, text: str) -> None:
        """Type a line."""
        os.write(self._keys, f"{text}\r".encode())
        self._read(0.2)  # its echo: what is on the screen already is not waited for

    def wait_for(self, pattern: str) -> None:
        """Wait until a line reads so and nothing more comes; for a prompt, the last line that is not empty."""
        limit = time.monotonic() + _STEP_S
        while time.monotonic() < limit:
            still = not self._read(_STILL_S)
            shown = [line.plain for line in self.lines(strip=False)]
            where = shown[-1:] if pattern in (_PROMPT, _GUEST) else shown
            found = any(re.search(pattern, line) for line in where)
            if found and (still or where is shown):
                return
        raise WorldError(
            f"{pattern!r} did not come within {_STEP_S:g} s; the screen has: " + "\n".join(shown[-5:])
        )

    def lines(self, *, strip: bool = True) -> list[Text]:
        """Return what is on the screen, to its last line that is not empty."""
        found = [self._line(number) for number in range(ROWS)]
        if strip:
            for line in found:
                line.rstrip()
            if found and re.search(
                r"^(\$|micro:\S*#)$", next((x.plain for x in reversed(found) if x.plain), "")
            ):
                while not found[-1].plain:
                    found.pop()
                found.pop()  # the prompt that waits
        while found and not found[-1].plain.strip():
            found.pop()
        if not strip and found:
            cut = found[-1].plain.rstrip()
            found[-1] = Text(f"{cut} " if re.search(r"[$#]$", cut) else cut)
        return found

    def _line(self, number: int) -> Text:
        chars = [self._screen.buffer[number][column] for column in range(COLUMNS)]
        line = Text()
        for style, run in itertools.groupby(chars, _style):
            line.append("".join(char.data for char in run), style)
        return line

    def _read(self, seconds: float) -> bool:
        """Take in what comes within this time; return whether anything did."""
        ready, _, _ = select.select([self._keys], [], [], seconds)
        if not ready:
            return False
        try:
            self._stream.feed(os.read(self._keys, 1 << 16))
        except OSError as e:
            raise WorldError("the shell has ended") from e
        return True


@contextlib.contextmanager
def _terminal(folder: Path) -> Iterator[_Terminal]:
    """Start a shell in a folder, on a terminal of its own. What runs in it ends with the block."""
    process, keys = pty.fork()
    if process == 0:
        os.chdir(folder)
        programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {
            **os.environ,
            "PATH": programs,
            "PS1": "$ ",
            "TERM": "xterm-256color",
            "LC_ALL": "C.UTF-8",
        }
        environment = {
            name: value for name, value in environment.items() if name not in ("COLUMNS", "NO_COLOR")
        }
        os.execvpe("bash", ["bash", "--norc", "--noprofile", "--noediting"], environment)
    fcntl.ioctl(keys, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    try:
        yield _Terminal(keys)
    finally:
        os.close(keys)  # what runs in it hears SIGHUP
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGHUP)
        os.waitpid(process, 0)


def _style(char: Any) -> Style:  # noqa: ANN401 - pyte has no types
    return Style(
        color=_color(char.fg),
        bgcolor=_color(char.bg),
        bold=char.bold,
        italic=char.italics,
        reverse=char.reverse,
    )


def _color(name: str) -> str | None:
    if name == "default":
        return None
    if re.fullmatch(r"[0-9a-f]{6}", name):
        return f"#{name}"
    bright, plain = name.startswith("bright"), name.removeprefix("bright")
    return f"{'bright_' if bright else ''}{_COLORS.get(plain, plain)}"


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except HostbuildError as error:
        sys.stderr.write(f"terminal_shots.py: {error}{f'; hint: {error.hint}' if error.hint else ''}\n")
        sys.exit(error.exit_status)
