"""What a build prints, understood."""

from pathlib import Path

import pytest

from hostbuild.errors import CommandError
from hostbuild.pybuild.compiling import failure
from hostbuild.pybuild.said import count_compiled, first_error, is_compiled, missing_package, tail

COMPILER = [
    "gcc -c -Wsign-compare -O2 -I./Include -o Python/ast.o ../source/Python/ast.c",
    "In file included from ../source/Modules/socketmodule.c:250:",
    "../source/Modules/socketmodule.h:70:11: fatal error: linux/netlink.h: No such file or directory",
    "compilation terminated.",
    "make: *** [Makefile:2816: Modules/socketmodule.o] Error 1",
]


def test_steps_are_counted() -> None:
    """Each file that is compiled counts, in a dry run as in a real one; what is linked or copied does not."""
    lines = [
        "gcc -c -O2 -o Parser/token.o ../source/Parser/token.c",
        "gcc  -Wsign-compare -O2 -c ../source/Modules/arraymodule.c -o Modules/arraymodule.o",
        "ar rcs Modules/expat/libexpat.a Modules/expat/xmlparse.o",
        "gcc -no-pie -static -o Programs/_freeze_module Programs/_freeze_module.o -lm",
        "./Programs/_freeze_module getpath ../source/Modules/getpath.py Python/frozen_modules/getpath.h",
    ]
    assert [is_compiled(line) for line in lines] == [True, True, False, False, False]
    assert count_compiled(lines) == 2


@pytest.mark.parametrize(
    ("log", "error", "package"),
    [
        (COMPILER, COMPILER[2], "linux-libc-dev"),
        (["configure: error: no acceptable C compiler found in $PATH"], "configure: error: no accep", "gcc"),
        (
            ["configure: error: in `/x':", "configure: error: C compiler cannot create executables"],
            "configure: error: C compiler",
            "gcc",
        ),
        (
            ["/usr/bin/ld: cannot find -lm: No such file or directory", "collect2: error"],
            "/usr/bin/ld: cannot",
            "libc6-dev",
        ),
        (["Include/Python.h:12:10: fatal error: limits.h: No such file"], "Include/Python.h:12", "libc6-dev"),
        (["link/ctypes/callproc.c:59:10: fatal error: ffi.h: No such file"], "link/ctypes", "libffi-dev"),
        (["/usr/bin/ld: cannot find -lffi: No such file or directory"], "/usr/bin/ld: cannot", "libffi-dev"),
        (["write error: No space left on device", "make: *** [x] Error 1"], "write error: No space", ""),
        (["make: *** [Makefile:1: all] Error 2"], "make: ***", ""),
        (["all is well"], "", ""),
    ],
)
def test_what_went_wrong(log: list[str], error: str, package: str) -> None:
    """The compiler's, the linker's or configure's own words go before make's; a package that is missing is named."""
    assert first_error(log).startswith(error)
    assert bool(first_error(log)) == bool(error)
    assert missing_package(log) == package


def test_the_end_of_a_log() -> None:
    """The last lines that say something, each of a length that can be read."""
    assert tail([*map(str, range(20)), "", "x" * 1000, ""]) == "\n".join(
        [*map(str, range(13, 20)), "x" * 300]
    )


def test_a_failure_says_what_is_missing() -> None:
    """The message has the error and the log's end, the hint how to get the package, and where the log lies."""
    error = failure(COMPILER, ("make",), 2, Path("/cache/KEY.log"))
    assert isinstance(error, CommandError)
    assert "linux/netlink.h: No such file or directory; the log ends with\ngcc -c" in str(error)
    assert "apt-get install --no-install-recommends linux-libc-dev" in error.hint
    assert "/cache/KEY.log" in error.hint
    assert "it ended with 2" in str(failure([], ("make",), 2, Path("/cache/KEY.log")))
