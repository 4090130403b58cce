"""hostbuild.kbuild.progress: what kbuild prints, counted and searched for the first error."""

import pytest

from hostbuild.kbuild.progress import count_steps, counts, first_error

# lines of `make -n` and of `make` of Linux 6.1, shortened in the middle
_DRY = [
    "set -e;  echo '  CC      init/main.o';   gcc -c -o init/main.o ../init/main.c; true",
    "set -e;  echo '  AS      arch/x86/entry/entry.o';   gcc -c -o arch/x86/entry/entry.o x.S; true",
    "set -e;  echo '  AR      init/built-in.a';   ar cDPrST init/built-in.a init/main.o",
    "set -e;  echo '  CC [M]  drivers/net/ethernet/intel/e1000/e1000_hw.o';   gcc -DMODULE -c -o x.o x.c",
    "set -e;  echo '  LD [M]  drivers/net/ethernet/intel/e1000/e1000.o';   ld -r -o e1000.o e1000_hw.o",
    "mkdir -p include/generated/; echo nothing",
]


def test_the_dry_run_counts_objects() -> None:
    """What is compiled, assembled or linked into a module counts; archives and generated files do not."""
    assert count_steps(_DRY) == 4


@pytest.mark.parametrize(
    ("line", "counted"),
    [
        ("  CC      init/main.o\n", True),
        ("  CC [M]  drivers/net/mii.o\n", True),
        ("  LD [M]  drivers/net/mii.ko\n", True),
        ("  AS      arch/x86/entry/entry.o\n", True),
        ("  AR      init/built-in.a\n", False),
        ("  HOSTCC  scripts/mod/modpost.o\n", False),
        ("  LD      vmlinux\n", False),
        ("make[1]: Entering directory '/x'\n", False),
        ("CC is mentioned\n", False),
    ],
)
def test_a_line_of_the_build(line: str, counted: bool) -> None:
    """The lines that advance the bar are of the kinds that the dry run counted."""
    assert counts(line) is counted


@pytest.mark.parametrize(
    ("log", "error"),
    [
        (
            [
                "  CC      init/main.o",
                "../init/main.c: In function 'start_kernel':",
                "../init/main.c:940:9: warning: unused variable 'x' [-Wunused-variable]",
                "../init/main.c:941:9: error: 'nosuch' undeclared (first use in this function)",
                "make[3]: *** [../scripts/Makefile.build:250: init/main.o] Error 1",
                "../kernel/fork.c:12:1: error: later",
            ],
            "../init/main.c:941:9: error: 'nosuch' undeclared (first use in this function)",
        ),
        (
            ["../x.c:1:10: fatal error: gelf.h: No such file or directory", "compilation terminated."],
            "../x.c:1:10: fatal error: gelf.h: No such file or directory",
        ),
        (
            ["ld: vmlinux.o: in function `f':", "ld: init/main.o:(.text+0x1): undefined reference to `g'"],
            "ld: init/main.o:(.text+0x1): undefined reference to `g'",
        ),
        (
            ['ERROR: modpost: "g" [drivers/x.ko] undefined!', "make[1]: *** [x] Error 1"],
            'ERROR: modpost: "g" [drivers/x.ko] undefined!',
        ),
        (["make: *** No rule to make target 'x'.  Stop."], "make: *** No rule to make target 'x'.  Stop."),
        (["  CC      a.o", "all is well"], ""),
    ],
    ids=["compiler", "header", "linker", "modpost", "make", "none"],
)
def test_the_first_error(log: list[str], error: str) -> None:
    """The first complaint of a tool is found, with its file; make's own line only if there is none."""
    assert first_error(log) == error
