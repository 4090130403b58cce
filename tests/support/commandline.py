"""The command line of hostbuild: as a child process, for tests of signals, terminals and exit statuses; or here."""

import sys
from pathlib import Path

from click.testing import CliRunner, Result

from hostbuild.main import hostbuild


def hostbuild_argv(*words: str | Path) -> list[str]:
    """The argv of `hostbuild` with these words, run by the interpreter that runs the tests."""
    return [sys.executable, "-c", "from hostbuild.main import main; main()", *map(str, words)]


def invoke(*words: str | Path) -> Result:
    """Run `hostbuild` with these words in this process.

    By its group: click keeps a command's help option as it was first made, without -h where the command is run alone.
    """
    return CliRunner().invoke(hostbuild, [*map(str, words)])
