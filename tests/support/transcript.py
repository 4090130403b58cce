"""Sessions in a page's blocks of `console`: what is typed after `$ `, and what is printed; run, and compared.

A line of `...` stands for any lines, `...` within a line for any text. Numbers, their units and the blanks between
words may be others: times, sizes and columns differ from machine to machine.
"""

import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

_FENCE = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NUMBER = re.compile(r"(?<![\w.:])\d[\d.]*(?: (?:ms|s|min|B|KiB|MiB|GiB)\b)?")


class Step(NamedTuple):
    """A command, and the lines that it prints on standard output."""

    command: str
    printed: tuple[str, ...]


def steps_of(page: Path) -> Iterator[Step]:
    """Give the steps of a page in their order."""
    for block in _FENCE.findall(page.read_text(encoding="utf-8")):
        for piece in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *lines = piece.replace("\\\n> ", "\\\n").rstrip("\n").split("\n")
            while command.endswith("\\"):
                command += f"\n{lines.pop(0)}"
            yield Step(command, tuple(lines))


def run_step(step: Step, folder: Path, environment: Mapping[str, str], limit_s: float) -> str | None:
    """Run the command in the folder; return what it printed, if it failed or that is not as expected; else None."""
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", step.command],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=limit_s,
        check=False,
    )
    if done.returncode or not is_alike(step.printed, done.stdout.splitlines()):
        return f"$ {step.command}\n[{done.returncode}]\n{done.stdout}{done.stderr}"
    return None


def is_alike(expected: Sequence[str], printed: Sequence[str]) -> bool:
    """Return whether the lines are as expected, but for dots, numbers and blanks."""
    pattern = "".join(r"(?:.*\n)*" if line.strip() == "..." else _pattern(line) for line in expected)
    return re.fullmatch(pattern, "".join(f"{_plain(line)}\n" for line in printed)) is not None


def _pattern(line: str) -> str:
    return ".*".join(map(re.escape, _plain(line).split("..."))) + r"\n"


def _plain(line: str) -> str:
    return " ".join(_NUMBER.sub("0", line).split())
