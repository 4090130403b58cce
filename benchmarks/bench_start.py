"""What the daemon's classes and functions cost at each start, in instructions of this machine's python3.11.

    PYTHONPATH=.:daemon python benchmarks/bench_start.py

Made a hundred times and two hundred times under callgrind; the difference tells. It needs valgrind.
"""

import marshal
import re
import subprocess
from types import CodeType

from hostbuild.image.sources.cpython import require_interpreter
from hostbuild.image.sources.daemon import JOINED, joined_files, require_sources

KINDS = {
    "a class": "class A: pass",
    "a record of three fields": "class A(NamedTuple):\n  a: int\n  b: int\n  c: int",
    "the same, written in the image": (
        "class A(NamedTuple):\n  _fields = ('a', 'b', 'c')\n  def __new__(_cls, a, b, c): return 0"
    ),
    "an enum of three": "class A(Enum):\n  A = 1\n  B = 2\n  C = 3",
}
HEADER = 16  # bytes of a .pyc file before its code


def cost(statement: str) -> int:
    """Instructions for one more of it."""
    start = "from modaliasd.core.fasttypes import Enum, NamedTuple\n"
    few, many = (_instructions(f"{start}for i in range({times}):\n {statement}") for times in (100, 200))
    return (many - few) // 100


def _instructions(program: str) -> int:
    command = [
        "valgrind",
        "--tool=callgrind",
        "--callgrind-out-file=/dev/null",
        "/usr/bin/python3.11",
        "-SsP",
        "-c",
    ]
    environment = {
        "PYTHONPATH": "daemon",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PATH": "/usr/bin:/bin",
    }
    said = subprocess.run(
        [*command, program], env=environment, capture_output=True, text=True, check=True
    ).stderr
    found = re.search(r"Collected : (\d+)", said)
    assert found, said
    return int(found[1])


def counted(content: bytes) -> tuple[int, int]:
    """Return how many classes and functions the code of a .pyc file has; those inside of functions are not counted."""
    classes = functions = 0
    waiting: list[object] = [marshal.loads(content[HEADER:])]
    while waiting:
        one = waiting.pop()
        if isinstance(one, tuple):
            waiting += one
        if isinstance(one, CodeType):
            functions += one.co_flags & 2 != 0  # CO_NEWLOCALS
            classes += one.co_flags & 2 == 0 and one.co_name != "<module>"
            waiting += one.co_consts if not one.co_flags & 2 else ()
    return classes, functions


def main() -> None:
    """Print both."""
    for kind, statement in KINDS.items():
        print(f"{kind}: {cost(statement):,}")
    files = joined_files(require_sources(), require_interpreter())
    for name in (f"{JOINED}.pyc", f"{JOINED}_later.pyc"):
        classes, functions = counted(files[name])
        print(f"{name}: {classes} classes, {functions} functions or stubs, {len(files[name]):,} bytes")


if __name__ == "__main__":
    main()
