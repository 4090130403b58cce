"""Rules for programs, libraries and scripts: the loader, DT_NEEDED, `#!`, the machine.

Libraries are looked for as ld.so(8) does: DT_RUNPATH, ld.so.conf, the usual directories. An image of hostbuild's has
no library that is not needed; elsewhere a library that nobody in the image needs may lack some of its own (plugins).
"""

import posixpath
import stat
from collections.abc import Iterator

from hostbuild.arch import Arch
from hostbuild.check.finding import Finding, Maker, error, fatal, note
from hostbuild.check.view import ProgramView, View
from hostbuild.formats.elf_symbols import machine_name
from modaliasd.core.settings import split_words

_TRIPLETS = {arch.facts.elf: arch.facts.triplet for arch in Arch} | {3: "i386-linux-gnu"}
_ENV = ("/usr/bin/env", "/bin/env")
_PATH = ("/sbin", "/usr/sbin", "/bin", "/usr/bin")


def check_programs(view: View) -> Iterator[Finding]:
    """Check that what can be started finds what it starts with."""
    init = _first(view)
    essential = _essential(view, init)
    machine = view.kernel.machine if view.kernel is not None and view.kernel.machine else 0
    if not machine and init:
        machine = _machine_of(view, init)
    reached = _reached(view)
    everywhere = {posixpath.basename(path) for path, _ in view.root.walk()}
    for path, program in sorted(view.programs.items()):
        stops = path in essential
        bad = fatal if stops else error if view.own or path in reached else note
        if program.trouble:
            yield bad("elf-damaged", f"/{path}", program.trouble, "take it from its package again")
        elif program.elf:
            yield from _elf(view, program, machine, everywhere, bad)
        elif program.script and program.executable:
            yield from _script(view, program, fatal if stops else error if view.own else note)
    if view.own:
        yield from _links(view)


def _first(view: View) -> str:
    words = [word.partition("=")[2] for word in split_words(view.append) if word.startswith("rdinit=")]
    return words[-1] if words else "/init"


def _essential(view: View, init: str) -> frozenset[str]:
    """Give the paths of what the boot cannot do without: /init, its interpreter and loader, and their libraries."""
    starts = [init, *(("/sbin/init", "/bin/sh", "/usr/bin/modaliasd") if view.own else ())]
    nodes = view.by_node
    paths: set[str] = set()
    while starts:
        node = view.root.find(starts.pop())
        program = nodes.get(id(node)) if node is not None else None
        if program is None or program.path in paths:
            continue
        paths.add(program.path)
        starts += [program.script[0]] if program.script else []
        starts += [program.interpreter] if program.interpreter else []
        starts += [found for name in program.needed if (found := _find_library(view, program, name))]
    return frozenset(paths)


def _machine_of(view: View, path: str) -> int:
    program = view.program(path)
    if program is not None and program.script:
        program = view.program(program.script[0])
    return program.machine if program is not None else 0


def _reached(view: View) -> frozenset[str]:
    """Give the libraries that a program needs, directly or through one another, and the programs."""
    nodes = view.by_node
    waiting = [
        one for one in view.programs.values() if one.executable and (one.interpreter or not one.shared)
    ]
    reached = {one.path for one in waiting}
    while waiting:
        one = waiting.pop()
        for name in one.needed:
            node = view.root.find(_find_library(view, one, name))
            library = nodes.get(id(node)) if node is not None else None
            if library is not None and library.path not in reached:
                reached.add(library.path)
                waiting.append(library)
    return frozenset(reached)


def _find_library(view: View, program: ProgramView, name: str) -> str:
    """Return the path of a library that a program asks for, "" where it is not found."""
    if "/" in name:
        return name if view.root.find(name) is not None else ""
    origin = f"/{posixpath.dirname(program.path)}"
    own = [one.replace("${ORIGIN}", origin).replace("$ORIGIN", origin) for one in program.run_path]
    triplet = _TRIPLETS.get(program.machine, "")
    usual = [f"{base}{part}" for part in (f"/{triplet}", "", "64") for base in ("/lib", "/usr/lib")]
    for directory in (*own, *view.library_paths, *usual):
        path = f"{directory}/{name}"
        node = view.root.find(path)
        if node is not None and stat.S_ISREG(node.mode):
            return path
    return ""


def _elf(
    view: View, program: ProgramView, machine: int, everywhere: set[str], bad: Maker
) -> Iterator[Finding]:
    place = f"/{program.path}"
    if machine and program.machine != machine and not (machine == 62 and program.machine == 3):
        yield bad(
            "program-machine",
            place,
            f"it is for {machine_name(program.machine)}, the kernel for {machine_name(machine)}",
            "take the program for the kernel's architecture",
        )
        return
    if program.interpreter and view.root.find(program.interpreter) is None:
        yield bad(
            "loader-missing",
            place,
            f'its loader {program.interpreter} is not in the image, so it does not start ("not found")',
            "add the loader, of libc6, or link the program statically",
        )
    for name in program.needed:
        if _find_library(view, program, name):
            continue
        if name in everywhere and not view.own:
            yield note(
                "library-elsewhere",
                place,
                f"it needs {name}, which lies where only ld.so.cache, or who opens it, finds it",
                "ldconfig -r",
            )
        else:
            yield bad(
                "library-missing",
                place,
                f"it needs the library {name}, which is not where the loader looks",
                "add the library, by an overlay or its package",
            )


def _script(view: View, program: ProgramView, bad: Maker) -> Iterator[Finding]:
    place = f"/{program.path}"
    name = program.script[0]
    node = view.root.find(name) if name.startswith("/") else None
    if node is None:
        carriage = "; its first line ends in a carriage return" if name.endswith("\r") else ""
        yield bad(
            "interpreter-missing",
            place,
            f"its interpreter {name.strip()} is not in the image{carriage}",
            "sed -i 's/\\r$//'" if carriage else "add the interpreter, or name one that is there (/bin/sh)",
        )
    elif not stat.S_ISREG(node.mode) or not node.mode & 0o111:
        yield bad(
            "interpreter-not-executable",
            place,
            f"its interpreter {name} cannot be executed (mode {node.mode & 0o7777:04o})",
            f"chmod +x {name}",
        )
    elif name in _ENV and len(program.script) > 1:
        wanted = program.script[1]
        if not wanted.startswith("-") and all(view.root.find(f"{d}/{wanted}") is None for d in _PATH):
            yield bad(
                "interpreter-missing",
                place,
                f"{name} finds no {wanted} in the image",
                "add it, or name an interpreter that is there",
            )


def _links(view: View) -> Iterator[Finding]:
    for path, node in view.root.walk():
        in_path = posixpath.basename(posixpath.dirname(path)) in ("bin", "sbin")
        if in_path and stat.S_ISLNK(node.mode) and view.root.find(path) is None:
            reason = f"it is a link to {node.target}, which is not there"
            yield error("link-dangling", f"/{path}", reason, "add that, or remove the link")
