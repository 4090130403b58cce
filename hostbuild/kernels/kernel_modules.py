"""A kernel's modules on the host: where they are, whether they are its own, and their indexes.

Debian's packages carry no modules.dep, since depmod runs when they are installed; other trees have one that lacks what
their depmod could not read. The indexes are then made once, in hostbuild's cache, and the tree's own files are left as
they are.
"""

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from hostbuild import debs
from hostbuild.errors import HostbuildError
from hostbuild.formats import elf
from hostbuild.formats.modules.modfile import plain_path, read_module
from hostbuild.formats.modules.vermagic import Fit, judge, magic_of, release_of
from hostbuild.fs import sealed
from hostbuild.fs.regular import is_regular, read_regular
from hostbuild.fs.scratch import scratch_directory
from hostbuild.kernels.bzimage import KernelError
from hostbuild.kernels.depmod import DEP, LISTS, WEAKDEP, index_modules
from hostbuild.kernels.module_files import NO_FILES, ModuleFiles, find_module_files, printable
from hostbuild.ui import Reporter
from modaliasd.core.kmod.names import module_name, text_of

_SAMPLES = 4  # modules of a tree that are asked for their kernel
_LEFT_OUT = "left-out"  # beside indexes in the cache: what they leave out, a line each


def modules_of(
    version: str, root: Path, own: Path | None, given: Path | None
) -> tuple[Path | None, ModuleFiles, str]:
    """Find the modules of a kernel, and make sure that they are not all of another one; give its version magic, too.

    root: the system that the kernel belongs to. own: the directory that is known to be its own. given: what the
    caller names.
    """
    if own is not None:
        found: Path | None = own
        files = find_module_files(own)
    elif given is None:
        places = [root / "lib/modules" / version, root / "usr/lib/modules" / version]
        found = next((place for place in places if place.is_dir()), None)
        files = find_module_files(found) if found else NO_FILES
    else:
        for found in (given / "lib/modules" / version, given / version, given):
            files = find_module_files(found) if found.is_dir() else NO_FILES
            if files.files:
                break
        else:
            what = "is not a directory" if not given.is_dir() else "holds no kernel modules"
            raise KernelError(
                f"the modules directory {given} {what}; it has to be the /lib/modules/{version} of the kernel"
            )
    if found is None or not files.files:
        return None, files, ""
    return found, files, _require_own(version, found, files.files)


def _require_own(version: str, directory: Path, files: Mapping[str, str]) -> str:
    """Refuse the tree of another kernel, by a few modules that came with it; strays among them are judged later.

    Give the version magic of one that is the kernel's; "" if there is none.
    """
    came_with_it = [path for path in files if path.startswith("kernel/")]
    own = came_with_it or list(files)
    said: list[tuple[str, str]] = []
    for path in own[:: max(len(own) // _SAMPLES, 1)]:
        with contextlib.suppress(HostbuildError):  # a damaged one says nothing about the others
            magic = magic_of(read_module(Path(files[path])))
            if release_of(magic) == version:
                return magic if came_with_it else ""
            if not came_with_it and judge(magic, version) is not Fit.NONE:
                return ""
            said.append((path, release_of(magic)))
    if said:
        path, release = said[0]
        raise KernelError(
            f"the modules in {directory} are for kernel {printable(release) or 'unknown'}, but the kernel is {version} "
            f"(as {Path(path).name} says); one would refuse the other"
        )
    return ""


def require_indexes(
    modules: Path, version: str, files: ModuleFiles, report: Reporter
) -> tuple[Path, list[str]]:
    """Give a directory with modules.dep: the modules' own, or one in the cache; and what it leaves out.

    The modules' own counts if it has a line for every module that is there: a depmod that could not read some
    left those out, and one that did not run after the last change knows nothing of them. A depmod before kmod 33
    passed over what modules say in MODULE_WEAKDEP.
    """
    own = modules / DEP
    if is_regular(own) and (is_regular(modules / WEAKDEP) or not _may_have_weakdeps(version)):
        lines = text_of(read_regular(own)).splitlines()
        known = {module_name(line.partition(":")[0]) for line in lines}
        if known >= set(map(module_name, files.files)):
            return modules, []
    digest = hashlib.sha256()
    for path, file in files.files.items():
        status = os.stat(file)
        digest.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode())
    for name in (*LISTS, WEAKDEP):
        digest.update(f"{name}\n".encode() + read_list(modules, name))
    kept = debs.cache_directory() / "module-indexes"
    final = kept / f"{version}-{digest.hexdigest()[:16]}"
    found = sealed.find(final)
    if found is None:
        kept.mkdir(exist_ok=True)
        with scratch_directory(kept) as staging, report.step(f"Indexing the modules of {version}"):
            _make_indexes(staging, modules, version, files.files)
            found = sealed.publish(staging / "sealed", final)
    return found, (found / _LEFT_OUT).read_text(encoding="utf-8", errors="surrogateescape").splitlines()


def _may_have_weakdeps(version: str) -> bool:
    """Tell whether a kernel's modules may have MODULE_WEAKDEP, which came with Linux 6.11."""
    numbers = re.match(r"(\d+)\.(\d+)", version)
    return numbers is None or (int(numbers[1]), int(numbers[2])) >= (6, 11)


def _make_indexes(staging: Path, modules: Path, version: str, files: Mapping[str, str]) -> None:
    """Index a tree's modules below staging/sealed. Raises KernelError where none can be indexed."""
    trouble: list[str] = []
    endings: dict[str, str] = {}

    def plain() -> Iterator[tuple[str, bytes | Path]]:
        for path, file in ((path, Path(file)) for path, file in files.items()):
            to = plain_path(path)
            if to != path and to in files:
                continue  # beside one that is not compressed
            try:
                data = read_module(file)
                if not data.startswith(elf.MAGIC):
                    trouble.append(f"{modules / path} is left out: it is not an ELF file")
                    continue
            except HostbuildError as e:
                trouble.append(f"{modules / path} is left out: {e}")
                continue
            if to != path:
                endings[to] = path.removeprefix(to)
            yield to, file if to == path and file.suffix == ".ko" else data

    lists = {name: read_list(modules, name) for name in LISTS}
    lacking = index_modules(
        staging, version, plain(), lists=lists, weakdep=text_of(read_list(modules, WEAKDEP)), endings=endings
    )
    base = staging / "lib/modules" / version
    trouble += [f"the module {name} in {modules} is left out: depmod cannot read it" for name in lacking]
    if not (base / DEP).read_bytes().strip():
        raise KernelError(
            f"no module in {modules} can be indexed: {trouble[0] if trouble else 'depmod wrote no line'}",
            hint="name the modules of the kernel by --modules-dir, or build without by --modules none",
        )
    root = sealed.root_of(staging / "sealed")
    root.mkdir(parents=True)
    for entry in base.iterdir():
        if entry.is_file() and not entry.is_symlink():
            entry.rename(root / entry.name)
    (root / _LEFT_OUT).write_text(
        "".join(f"{line}\n" for line in trouble), encoding="utf-8", errors="surrogateescape"
    )


def builtin_values(modules: Path | None, field: str) -> dict[str, tuple[str, ...]]:
    """Give a .modinfo field of the drivers inside a kernel, from modules.builtin.modinfo: driver -> values."""
    found: dict[str, tuple[str, ...]] = {}
    data = read_list(modules, "modules.builtin.modinfo") if modules else b""
    for entry in data.split(b"\0"):
        driver, _, line = text_of(entry).partition(".")
        key, equals, value = line.partition("=")
        if equals and key == field:
            driver = module_name(driver)
            found[driver] = (*found.get(driver, ()), value)
    return found


def read_list(modules: Path, name: str) -> bytes:
    """Read one of the lists that the kernel's build leaves beside its modules; nothing where there is none."""
    try:
        return read_regular(modules / name)
    except FileNotFoundError:
        return b""
    except OSError as e:
        raise KernelError(f"cannot read {modules / name}: {e.strerror}") from e
