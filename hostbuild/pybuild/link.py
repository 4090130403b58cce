"""Links an interpreter from what build.py has kept: which modules are built in, which are frozen, and how.

Frozen are bytes of marshal, as in a .pyc file behind its header: the modules need no file, no search and no path.
(CPython deep-freezes its own, as objects in C: all of them are initialized at each start, 12 million instructions for
what a guest's image has.) They stand in the table of what is always frozen, in the order that is given: CPython
goes through it from its beginning for each import.
"""

import marshal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from hostbuild.fs.scratch import scratch_directory
from hostbuild.pybuild import setup_lines
from hostbuild.run import run

# Sections, so that the linker may leave out what nobody calls; no tables to unwind C's stack by, which no guest does
COMPILE = (
    "-fno-pie",
    "-ffunction-sections",
    "-fdata-sections",
    "-fno-asynchronous-unwind-tables",
    "-fno-unwind-tables",
    "-fno-ident",
    "-g0",
)
_LINK = ("-no-pie", "-Wl,--gc-sections", "-Wl,--build-id=none", "-s")
_CORE = ("-DPy_BUILD_CORE", "-O2", "-std=c11", *COMPILE)
_TIMEOUT = 300.0
CTYPES = "ctypes"  # where a build keeps the sources of _ctypes
_CTYPES = (
    "-DNDEBUG",
    "-fwrapv",
    "-fvisibility=hidden",
    "-DPy_BUILD_CORE_BUILTIN",
    *(f"-DHAVE_FFI_{name}" for name in ("PREP_CIF_VAR", "PREP_CLOSURE_LOC", "CLOSURE_ALLOC")),
)
# Parts of an interpreter before it is frozen; what make knows them as
BOOTSTRAP = ("importlib._bootstrap", "importlib._bootstrap_external", "zipimport")
_PATHS = Path(__file__).with_name("paths.c")
# CPython's own names for what starts the import system (Python/frozen.c)
_ALIASES = {
    "_frozen_importlib": "importlib._bootstrap",
    "_frozen_importlib_external": "importlib._bootstrap_external",
}


class Linkage(Enum):
    """How a program is linked; the words for gcc.

    STATIC: with libc in it. LOADING: as one that loads libraries while it runs. EXPORTING: and modules in C, which find
    CPython's functions in it. TRAINING: of objects that count (training.py).
    """

    STATIC = ("-static",)
    TRAINING = ("-static", "-fprofile-generate")
    LOADING = ("-Wl,--as-needed", "-Wl,-z,relro", "-Wl,--hash-style=gnu")
    EXPORTING = (*LOADING, "-Wl,--export-dynamic")


@dataclass(frozen=True, slots=True)
class Frozen:
    """A module to be frozen. code: its code object by marshal."""

    name: str
    code: bytes
    is_package: bool


def paths_c() -> str:
    """Return the text of what says where the guest's interpreter has its library."""
    return _PATHS.read_text(encoding="utf-8")


def compile_paths(directory: Path, version: str) -> None:
    """Compile that text. version: "3.11"."""
    compile_ours(directory, _PATHS, [f'-DVERSION=L"{version}"'])


def compile_ours(directory: Path, source: Path, words: Sequence[str] = ()) -> None:
    """Compile a source of our own to an object beside the others, of the same name."""
    names = [*_CORE, *words, *_includes(directory), f"-ffile-prefix-map={source.parent}=."]
    run(["gcc", "-c", *names, "-o", directory / f"{source.stem}.o", source], timeout=_TIMEOUT)


def bootstrap_modules(directory: Path) -> list[Frozen]:
    """Read what an interpreter that runs here has frozen, the parts without which it imports nothing."""
    return [Frozen(name, (directory / f"{name}.code").read_bytes(), is_package=False) for name in BOOTSTRAP]


def compile_ctypes(directory: Path) -> str:
    """Compile _ctypes from the sources that a build has kept, against this machine's libffi; name the archive."""
    sources = directory / CTYPES
    names = sorted(path.name for path in sources.glob("*.c"))
    words = [*_CORE, *_CTYPES, *_includes(directory), f"-ffile-prefix-map={directory}=."]
    run(["gcc", "-c", *words, *names], timeout=_TIMEOUT, cwd=sources)
    archive = "lib_ctypes.a"
    objects = [name.removesuffix(".c") + ".o" for name in names]
    run(["ar", "rcsD", directory / archive, *objects], timeout=_TIMEOUT, cwd=sources)
    return archive


def ctypes_question() -> bytes:
    """Return a text that changes with how _ctypes is compiled and linked."""
    return marshal.dumps([_CORE, _CTYPES, _LINK, Linkage.LOADING.value], 2)


def link(
    directory: Path,
    archives: Sequence[str],
    libraries: Sequence[str],
    frozen: Sequence[Frozen],
    without: Iterable[str],
    *,
    guest: bool,
    linkage: Linkage = Linkage.STATIC,
    main: str = "python.o",
    words: Sequence[str] = (),
) -> bytes:
    """Link an interpreter and give its bytes. directory: link/ of a build. without: modules in C that are left out.

    guest: with fixed paths, where nothing is looked for; else as CPython finds its own. main: the object there that
    has main(). words: more of them for gcc.
    """
    config = setup_lines.without((directory / "config.c").read_text(encoding="utf-8"), without)
    with scratch_directory() as place:
        (place / "config.c").write_text(config, encoding="utf-8")
        (place / "frozen.c").write_text(frozen_c(frozen), encoding="utf-8")
        (place / "frozen.bin").write_bytes(b"".join(one.code for one in frozen))
        (place / "code.S").write_text(_ASSEMBLER, encoding="ascii")
        includes = _includes(directory)
        maps = f"-ffile-prefix-map={place}=."
        names = ("config.c", "frozen.c", "code.S")
        run(["gcc", "-c", *_CORE, *includes, maps, *names], timeout=_TIMEOUT, cwd=place)
        objects = [directory / main, directory / ("paths.o" if guest else "getpath.o")]
        parts = [*map(str, objects), "frozen.o", "code.o", "config.o"]
        members = [str(directory / name) for name in archives]
        group = ["-Wl,--start-group", *members, "-Wl,--end-group"]
        run(
            ["gcc", *_LINK, *linkage.value, *words, "-o", "python", *parts, *group, *libraries],
            timeout=_TIMEOUT,
            cwd=place,
        )
        return (place / "python").read_bytes()


_ASSEMBLER = """\
    .section .rodata
    .globl frozen_code
    .balign 16
frozen_code:
    .incbin "frozen.bin"
    .section .note.GNU-stack,"",@progbits
"""


def frozen_c(frozen: Sequence[Frozen]) -> str:
    """Write the tables of frozen modules: Python/frozen.c without what is deep-frozen."""
    place = 0
    rows = []
    codes: dict[str, tuple[int, int, bool]] = {}
    for one in frozen:
        codes[one.name] = (place, len(one.code), one.is_package)
        place += len(one.code)
    named = {**{alias: codes[name] for alias, name in _ALIASES.items() if name in codes}, **codes}
    for name, (start, length, is_package) in named.items():
        row = f'.name = "{name}", .code = frozen_code + {start}, .size = {length}, .is_package = {int(is_package)}'
        rows.append(f"    {{{row}}},")
    aliases = [f'    {{"{alias}", "{name}"}},' for alias, name in _ALIASES.items()]
    return _FROZEN.format(rows="\n".join(rows), aliases="\n".join(aliases))


_FROZEN = """\
#include "Python.h"
#include "pycore_import.h"

extern const unsigned char frozen_code[];

static const struct _frozen always[] = {{
{rows}
    {{0}}
}};
static const struct _frozen none[] = {{{{0}}}};
static const struct _module_alias aliases[] = {{
{aliases}
    {{0}}
}};

const struct _frozen *_PyImport_FrozenBootstrap = always;
const struct _frozen *_PyImport_FrozenStdlib = none;
const struct _frozen *_PyImport_FrozenTest = none;
const struct _module_alias *_PyImport_FrozenAliases = aliases;
const struct _frozen *PyImport_FrozenModules = NULL;

/* until 3.12: what is deep-frozen is nothing */
int _Py_Deepfreeze_Init(void) {{ return 0; }}
void _Py_Deepfreeze_Fini(void) {{ }}
"""


def question(
    version: str, frozen: Sequence[Frozen], without: Iterable[str], linkage: Linkage = Linkage.STATIC
) -> bytes:
    """Return a text that changes with a linked program's inputs, those of its build apart."""
    rows = [(one.name, one.code, one.is_package) for one in frozen]
    return marshal.dumps(
        [version, _LINK, linkage.value, _CORE, _FROZEN, _ASSEMBLER, rows, sorted(without)], 2
    )


def _includes(directory: Path) -> list[str]:
    include = directory / "include"
    return [f"-I{include}", f"-I{include / 'internal'}"]
