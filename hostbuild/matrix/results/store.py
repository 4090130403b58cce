"""Where a run keeps what it has: each cell's result under its key, whole or not at all, so that the next run goes on.

DIR/lock                    held by the run that writes here
DIR/cells/KEY/result.json   status, cause, seconds, ...; written last
DIR/cells/KEY/ledger.jsonl console.txt output.txt
DIR/run.json                the cells of the last run, with names, keys and verdicts
DIR/index.html junit.xml    the same to look at, and for CI
"""

import contextlib
import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hostbuild.errors import InputError, UsageError, WorldError
from hostbuild.fs.files import read_input, write_error, write_file
from hostbuild.fs.scratch import scratch_directory
from hostbuild.matrix.asked.job import CellResult

FORMAT = 1
LEDGER, CONSOLE, OUTPUT, REPORT = "ledger.jsonl", "console.txt", "output.txt", "report.html"
RUN = "run.json"
_RESULT, _CELLS, _LOCK = "result.json", "cells", "lock"
_KEY = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Store:
    """A run's directory."""

    directory: Path

    def find(self, key: str) -> CellResult | None:
        """Return the result that is kept under a key; None where there is none, or it is damaged: it is run again."""
        try:
            table = json.loads((self.place(key) / _RESULT).read_bytes())
            if table["format"] != FORMAT:
                return None
            if any((self.place(key) / name).stat().st_size != size for name, size in table["files"].items()):
                return None
            return CellResult(
                status=int(table["status"]),
                seconds=float(table["seconds"]),
                cause=str(table["cause"]),
                hint=str(table["hint"]),
                notes=tuple(map(str, table["notes"])),
                ledger=self._read(key, LEDGER),
                console=self._read(key, CONSOLE).decode("utf-8", "replace"),
                output=self._read(key, OUTPUT).decode("utf-8", "replace"),
            )
        except (OSError, ValueError, TypeError, LookupError):
            return None

    def keep(self, key: str, name: str, result: CellResult) -> None:
        """Keep a result, in the place of an older one. Raises UsageError or WorldError."""
        place = self.place(key)
        texts = {LEDGER: result.ledger, CONSOLE: _encoded(result.console), OUTPUT: _encoded(result.output)}
        texts = {file: data for file, data in texts.items() if data}
        table = {
            "format": FORMAT,
            "name": name,
            "status": result.status,
            "seconds": round(result.seconds, 3),
            "cause": result.cause,
            "hint": result.hint,
            "notes": list(result.notes),
            "files": {file: len(data) for file, data in texts.items()},
        }
        texts[_RESULT] = _encoded(json.dumps(table, indent=1) + "\n")  # the last
        with scratch_directory(self.directory / _CELLS) as staging:
            made = staging / "cell"
            made.mkdir()
            for file, data in texts.items():
                write_file(made / file, data, "a cell's result")
            try:
                with contextlib.suppress(FileNotFoundError):
                    place.rename(staging / "older")
                made.rename(place)
            except OSError as e:
                raise write_error(place, "a cell's result", e) from e

    def forget(self, key: str) -> None:
        """Remove a result."""
        shutil.rmtree(self.place(key), ignore_errors=True)

    def place(self, key: str) -> Path:
        """Return the directory of a cell."""
        assert _KEY.fullmatch(key), key
        return self.directory / _CELLS / key

    def _read(self, key: str, name: str) -> bytes:
        try:
            return (self.place(key) / name).read_bytes()
        except FileNotFoundError:
            return b""


@contextlib.contextmanager
def opened(directory: Path) -> Iterator[Store]:
    """Open a run's directory to write in it, made on first use. Raises UsageError for one that another run holds."""
    what = "the results"
    try:
        others = directory.is_dir() and any(directory.iterdir()) and not (directory / _LOCK).exists()
        if others:
            raise UsageError(
                f"cannot write the results into {directory}: it has other files",
                hint="name a directory that is empty, or not there yet",
            )
        (directory / _CELLS).mkdir(parents=True, exist_ok=True)
        lock = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    except OSError as e:
        raise write_error(directory, what, e) from e
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"another run writes its results into {directory}",
                hint="wait for it, or name another: -o DIR",
            ) from None
        except OSError as e:
            raise WorldError(f"cannot lock {directory}: {e.strerror or e}") from e
        yield Store(directory)
    finally:
        os.close(lock)


def write_run(directory: Path, run: dict[str, Any]) -> None:
    """Write what a run came to. Raises UsageError or WorldError."""
    write_file(directory / RUN, _encoded(json.dumps(run, indent=1) + "\n"), "the run's results")


def read_run(directory: Path) -> dict[str, Any]:
    """Read what a run came to. Raises InputError for a directory without, or with a damaged one."""
    path = directory / RUN
    if not path.is_file():
        raise InputError(
            f"{directory} has no results of hostbuild matrix ({RUN})",
            hint="hostbuild matrix matrix.toml -o DIR",
        )
    try:
        run = json.loads(read_input(path, "the run's results"))
        if run["format"] != FORMAT:
            raise InputError(f"{path} is of format {run['format']!r}, not {FORMAT}")
        trouble = next((trouble for row in run["cells"] if (trouble := _trouble(row))), "")
    except (ValueError, TypeError, LookupError, RecursionError) as e:
        raise InputError(f"{path} is damaged: {type(e).__name__}: {e}", hint="run the matrix again") from e
    if trouble:
        raise InputError(f"{path} is damaged: {trouble}", hint="run the matrix again")
    found: dict[str, Any] = run
    return found


def _trouble(row: Any) -> str:  # noqa: ANN401 - whatever the file has
    """Say what is wrong with a cell's row; "" if nothing is."""
    if not (isinstance(row["name"], str) and isinstance(row["verdict"], str)):
        return "a cell has no name, or no verdict"
    return "" if row["key"] is None or _KEY.fullmatch(row["key"]) else "a cell's key is none"


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")
