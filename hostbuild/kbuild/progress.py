"""What kbuild prints, understood: how many objects it is going to make, which one it makes, and the first
error.

    "  CC      fs/ext4/inode.o"            what `make` prints for a step
    "set -e;  echo '  CC      fs/ext4/inode.o'; ..."   the same step in the recipes of `make -n`

`make -n` walks the whole tree without building, and so counts exactly what is still to do: after a build that
was interrupted, the rest.
"""

import re
from collections.abc import Iterable

# The steps that take time; AR, LDS, GEN and the like are over in a moment. LD counts because of LD [M].
_COUNTED = frozenset({"CC", "AS", "CC [M]", "AS [M]", "LD [M]"})

_STEP = re.compile(r"^  ([A-Z][A-Z0-9_]*(?: \[M\])?) +(\S+)")
_RECIPE = re.compile(r"echo '  ([A-Z][A-Z0-9_]*(?: \[M\])?) +[^']*'")
_ERRORS = (
    re.compile(
        r"^(?P<file>[^\s:][^:]*):(?P<line>\d+):(?:\d+:)? (?:fatal )?error: (?P<what>.*)"
    ),  # the compiler
    re.compile(
        r"^(?:\S*ld|\S*objtool): (?P<what>.*(?:undefined|cannot|error|multiple definition).*)"
    ),  # the linker
    re.compile(r"^(?P<what>ERROR: modpost: .*)"),
    re.compile(r"^(?P<what>.*: No such file or directory|.*: not found|.*No space left on device)"),
    re.compile(r"^make(?:\[\d+\])?: \*\*\* (?P<what>.*)"),
)


def counts(line: str) -> bool:
    """Return whether a line of make's output is one of the steps that are counted."""
    match = _STEP.match(line)
    return match is not None and match[1] in _COUNTED


def count_steps(dry_run: Iterable[str]) -> int:
    """Return how many counted steps stand in what `make -n` printed."""
    return sum(1 for line in dry_run for match in _RECIPE.finditer(line) if match[1] in _COUNTED)


def first_error(log: Iterable[str]) -> str:
    """Return the first error of a build log, with its file where one is named; "" if there is none.

    Whatever a compiler or a linker says comes before make's own "*** Error 1", which only repeats it.
    """
    best: tuple[int, str] | None = None
    for line in log:
        for rank, pattern in enumerate(_ERRORS):
            match = pattern.match(line)
            if match and (best is None or (rank == len(_ERRORS) - 1) < (best[0] == len(_ERRORS) - 1)):
                best = rank, line.strip()
        if best is not None and best[0] < len(_ERRORS) - 1:
            break
    return best[1] if best else ""
