"""External modules: a driver's own directory (its Makefile says obj-m) built for a Debian kernel that is not installed.

Debian splits what kbuild needs (Documentation/kbuild/modules.rst) into three packages, whose files name one another by
absolute paths below /usr:

    linux-headers-VERSION          .config, Module.symvers, generated headers; its Makefile includes the one of
    linux-headers-VERSION-common   all other headers
    linux-kbuild-6.1               kbuild's programs, already compiled

They are unpacked in hostbuild's cache as they are. The first is then copied to a scratch directory, with links to the
others in place of the absolute paths.
"""

import os
import re
import shutil
from pathlib import Path

from hostbuild import debs
from hostbuild.arch import is_foreign
from hostbuild.errors import CommandError, InputError, WorldError
from hostbuild.fs.scratch import scratch_directory
from hostbuild.kernels.kernel import Kernel
from hostbuild.run import find_program, run
from hostbuild.ui import Reporter, Silent

_BUILD_S = 900.0
_COMPILER = re.compile(r"^CC\s*[:?]?=.*?(gcc-\d+)\s*$", re.MULTILINE)
_DEPENDS = re.compile(r"linux-(headers-.*-common|kbuild-.*)")


def build_overlay(source: Path, kernel: Kernel, overlay: Path, report: Reporter | None = None) -> Path:
    """Build the modules of a directory for a kernel, put them into an overlay for make-image, and return that.

    source: is not written to. overlay: an existing directory; the modules go below usr/lib/modules/VERSION/extra.
    Raises InputError for a directory that is none or does not compile, ToolMissingError without a compiler, WorldError
    for a kernel that no headers are to be had for.
    """
    report = report or Silent()
    if not any((source / name).is_file() for name in ("Kbuild", "Makefile")):
        raise InputError(f"{source} has no Makefile: an external module has one that says `obj-m := NAME.o`")
    if is_foreign(kernel.arch):
        raise WorldError(
            f"modules are built for this machine's architecture alone, and {kernel.origin} is for {kernel.arch}",
            hint=f"build it with CROSS_COMPILE={kernel.arch.facts.cross}, and bring the .ko in an overlay",
        )
    headers = _require_headers(kernel, report)
    target = overlay / "usr/lib/modules" / kernel.version / "extra"
    target.mkdir(parents=True, exist_ok=True)
    with scratch_directory() as scratch, report.step(f"Building {source.name}"):
        tree, copy = scratch / "headers", scratch / "source"
        _lay_out(headers, tree)
        shutil.copytree(
            source, copy, ignore=shutil.ignore_patterns("*.ko", "*.o", ".*.cmd", "*.mod", "*.mod.c")
        )
        _make(tree, copy, source)
        built = sorted(copy.rglob("*.ko"))
        if not built:
            raise InputError(f"{source} was built, but no module came out of it", hint="obj-m := NAME.o")
        for module in built:
            shutil.copy(module, target / module.name)
    return overlay


def _require_headers(kernel: Kernel, report: Reporter) -> list[Path]:
    """Return the unpacked packages: the kernel's own headers first."""
    package = kernel.package
    if package is None:
        raise WorldError(
            f"only modules for Debian's kernels can be built here, and {kernel.origin} is not from a package",
            hint="--guest-kernel deb:linux-image-amd64",
        )
    [headers] = debs.describe([f"linux-headers-{kernel.version}"])
    if headers.version != package.version:
        raise WorldError(
            f"apt's lists have {headers}, but the kernel is {package}: modules need headers of the same version",
            hint="sudo apt-get update",
        )
    others = debs.describe([name for name in headers.depends if _DEPENDS.fullmatch(name)])
    return [debs.require_unpacked(one, report) for one in (headers, *others)]


def _lay_out(roots: list[Path], tree: Path) -> None:
    """Make a directory that `make -C` can be told of: the first package's, with its links and its include put right."""
    own = next((roots[0] / "usr/src").glob("linux-headers-*"))
    shutil.copytree(own, tree, symlinks=True)
    for link in [path for path in tree.iterdir() if path.is_symlink()]:
        target = os.path.normpath(f"/{own.relative_to(roots[0])}/{link.readlink()}").lstrip("/")
        link.unlink()
        link.symlink_to(_find(roots, target))
    included = (tree / "Makefile").read_text().split()
    if included[:1] != ["include"] or len(included) != 2:
        raise WorldError(f"{own}/Makefile is not as Debian's headers have it")
    common = _find(roots, included[1].lstrip("/"))
    _link_programs(roots, common.parent, tree)
    (tree / "Makefile").write_text(f"include {tree / 'common' / 'Makefile'}\n")


def _link_programs(roots: list[Path], common: Path, tree: Path) -> None:
    """Put the common headers beside, links to their parts; what they link to is in another package."""
    place = tree / "common"
    place.mkdir()
    for path in common.iterdir():
        target = path
        if path.is_symlink():
            root = next(root for root in roots if path.is_relative_to(root))
            target = _find(
                roots, os.path.normpath(f"/{common.relative_to(root)}/{path.readlink()}").lstrip("/")
            )
        (place / path.name).symlink_to(target)


def _find(roots: list[Path], path: str) -> Path:
    for root in roots:
        if (root / path).exists():
            return root / path
    raise WorldError(f"none of the headers' packages has /{path}")


def _make(tree: Path, copy: Path, source: Path) -> None:
    words: list[str | Path] = ["make", "-C", tree, f"M={copy}", f"-j{os.cpu_count() or 1}", "modules"]
    named = tree / ".kernelvariables"
    compiler = _COMPILER.search(named.read_text()) if named.is_file() else None
    if compiler and find_program(compiler[1]) is None and find_program("gcc"):
        words.append("CC=gcc")  # another release's: kbuild warns, and it works
    if find_program("pahole") is None:
        words.append("CONFIG_DEBUG_INFO_BTF_MODULES=")  # type information for BPF, which only pahole makes
    try:
        run(words, timeout=_BUILD_S)
    except CommandError as e:
        if e.status == 2:  # make's, for a target that could not be made
            raise InputError(f"{source} does not compile:\n{e.stderr}") from e
        raise
