"""The command line of hostbuild as a child process, for tests of signals, terminals and exit statuses."""

import sys
from pathlib import Path


def hostbuild_argv(*words: str | Path) -> list[str]:
    """The argv of `hostbuild` with these words, run by the interpreter that runs the tests."""
    return [sys.executable, "-c", "from hostbuild.main import main; main()", *map(str, words)]
