"""The kernel that an image is made for: its vmlinuz, its version, its modules and their indexes.

The version stands in the x86 boot header (Documentation/arch/x86/boot.rst): "HdrS" at 0x202, at 0x20e a
16-bit offset, to which 0x200 is added, of a string that begins with the version.

Debian's packages carry no modules.dep, since depmod runs when they are installed. The indexes are then made
once, in hostbuild's cache, and the package's own files are left as they are.
"""

import contextlib
import hashlib
import os
import platform
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from hostbuild import debs, sealed
from hostbuild.depmod import DEP, LISTS, WEAKDEP, index_modules
from hostbuild.errors import HostbuildError, InputError, WorldError
from hostbuild.files import read_error
from hostbuild.formats import elf
from hostbuild.formats.modfile import plain_path, read_module
from hostbuild.formats.sniff import Kind, kind_of_file, use_of
from hostbuild.formats.vermagic import Fit, judge, magic_of, release_of
from hostbuild.modulefiles import NO_FILES, ModuleFiles, find_module_files
from hostbuild.regular import is_regular, read_regular
from hostbuild.scratch import scratch_directory
from hostbuild.ui import Reporter
from hostbuild.words import did_you_mean
from modaliasd.core.names import module_name, text_of

_KERNEL_WORDS = (
    "name a kernel by the path of a vmlinuz, by deb:PACKAGE (deb:linux-image-amd64), or as running"
)
_VERSION = re.compile(r"(?!\.)[!-.0-~]+")
_SAMPLES = 4  # modules of a tree that are asked for their kernel
_LEFT_OUT = "left-out"  # beside indexes in the cache: what they leave out, a line each
_DEB_ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}


class KernelError(InputError):
    """The kernel or its modules are not what they have to be."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel on the host.

    version: as uname -r prints it. sha256: of the vmlinuz.
    modules: the directory that holds `kernel/`, None for a kernel without modules.
    indexes: the directory that holds modules.dep and its companions.
    config: the kernel's configuration, None where it is not known.
    origin: where it came from: "linux-image-6.1.0-56-amd64 6.1.192-2", "running", a path.
    package: the package that it is from, if it is from one; package_path: the vmlinuz's path in it.
    left_out: module files that are none, or that nobody can read, in words.
    """

    vmlinuz: Path
    version: str
    sha256: str
    origin: str
    modules: Path | None = None
    indexes: Path | None = None
    config: Path | None = None
    package: debs.Package | None = None
    package_path: str = ""
    left_out: tuple[str, ...] = ()


def require_kernel(spec: str | None, modules_dir: Path | None, report: Reporter) -> Kernel:
    """Find a kernel and make its module indexes available.

    spec: "deb:PACKAGE", the path of a vmlinuz, "running"; None takes the running one where it can be read,
    else Debian's package. modules_dir: where its modules are, if not beside it.
    """
    if spec is None:
        spec = "running" if _running_is_readable() else f"deb:linux-image-{_deb_architecture()}"
    package = None
    if spec.startswith("deb:"):
        package, vmlinuz, root = _from_package(spec.removeprefix("deb:"), report)
        origin = str(package)
    elif spec == "running":
        vmlinuz, root, origin = Path(f"/boot/vmlinuz-{platform.release()}"), Path("/"), "running"
    else:
        vmlinuz = require_spec(spec).absolute()
        # an unpacked package has boot/vmlinuz-X beside lib/modules/X
        root, origin = (vmlinuz.parent.parent if vmlinuz.parent.name == "boot" else Path("/")), str(vmlinuz)
    version, digest = read_vmlinuz(vmlinuz)
    modules, files = _modules_of(version, root, modules_dir)
    indexes, lacking = _require_indexes(modules, version, files, report) if modules else (None, [])
    config = vmlinuz.with_name(f"config-{version}")
    return Kernel(
        vmlinuz=vmlinuz,
        version=version,
        sha256=digest,
        origin=origin,
        modules=modules,
        indexes=indexes,
        config=config if config.is_file() else None,
        package=package,
        package_path=str(vmlinuz.relative_to(root)) if package else "",
        left_out=(*files.problems, *lacking),
    )


def require_spec(spec: str) -> Path:
    """Give the path of a kernel that somebody named by it. Raises KernelError where it cannot be one."""
    path = Path(spec)
    if not path.exists():
        package = re.fullmatch(r"(linux-image-[a-z0-9+.-]+)", spec)
        near = did_you_mean(spec, ["running"]) if "/" not in spec else ""
        raise KernelError(
            f"cannot read the kernel {spec}: there is no such file{near}",
            hint=f"a package's kernel is named by deb:{package[1]}" if package else _KERNEL_WORDS,
        )
    kind = kind_of_file(path)
    if kind not in (Kind.KERNEL, Kind.ELF, Kind.DATA):
        hint = use_of(path, kind) or _KERNEL_WORDS
        raise KernelError(f"{path} is {kind.value}, not a kernel (vmlinuz)", hint=hint)
    return path


def parse_version(vmlinuz: bytes) -> str:
    """Read the version from the first kilobytes of an x86 kernel image."""
    if vmlinuz[0x202:0x206] != b"HdrS":
        raise KernelError("no x86 boot header: not a bzImage (vmlinuz)")
    (offset,) = struct.unpack_from("<H", vmlinuz, 0x20E)
    text = vmlinuz[offset + 0x200 : offset + 0x400].partition(b"\0")[0].decode("ascii", "replace")
    if offset == 0 or not text.split():
        raise KernelError("its boot header names no version")
    version = text.split()[0]
    if not _VERSION.fullmatch(version):  # it becomes a directory's name
        raise KernelError(
            f"its boot header has {version!r} for a version, which can name no directory of modules"
        )
    return version


def read_vmlinuz(path: Path) -> tuple[str, str]:
    """Give the version and the SHA-256 of a kernel image."""
    try:
        data = read_regular(path)
    except OSError as e:
        raise read_error(path, "the kernel", e, hint=_KERNEL_WORDS) from e
    try:
        return parse_version(data), hashlib.sha256(data).hexdigest()
    except KernelError as e:
        raise KernelError(f"{path} is no kernel that QEMU can boot: {e}") from e


def _running_is_readable() -> bool:
    release = platform.release()
    return os.access(f"/boot/vmlinuz-{release}", os.R_OK) and Path(f"/lib/modules/{release}").is_dir()


def _deb_architecture() -> str:
    machine = platform.machine()
    if machine not in _DEB_ARCHITECTURE:
        raise WorldError(
            f"no Debian kernel package is known for {machine} machines", hint="name one by --kernel"
        )
    return _DEB_ARCHITECTURE[machine]


def _from_package(name: str, report: Reporter) -> tuple[debs.Package, Path, Path]:
    """Unpack a kernel package, or the one that a metapackage such as linux-image-amd64 depends on."""
    [package] = debs.describe([name])
    versioned = [d for d in package.depends if d.startswith("linux-image-")]
    if versioned:
        [package] = debs.describe(versioned[:1])
    root = debs.require_unpacked(package, report)
    images = sorted(root.glob("boot/vmlinu[xz]-*"))
    if len(images) != 1:
        raise KernelError(
            f"the package {package} holds {len(images) or 'no'} kernel{'s' * (len(images) > 1)} in /boot, not one",
            hint=f"deb:linux-image-{_deb_architecture()}",
        )
    return package, images[0], root


def _modules_of(version: str, root: Path, given: Path | None) -> tuple[Path | None, ModuleFiles]:
    """Find the modules of a kernel, and make sure that they are not all of another one."""
    if given is None:
        places = [root / "lib/modules" / version, root / "usr/lib/modules" / version]
        found = next((place for place in places if place.is_dir()), None)
        files = find_module_files(found) if found else NO_FILES
    else:
        for found in (given / "lib/modules" / version, given / version, given):
            files = find_module_files(found) if found.is_dir() else NO_FILES
            if files.files:
                break
        else:
            what = "is no directory" if not given.is_dir() else "holds no kernel modules"
            raise KernelError(
                f"the modules directory {given} {what}; it has to be the /lib/modules/{version} of the kernel"
            )
    if found is None or not files.files:
        return None, files
    _require_own(version, found, files.files)
    return found, files


def _require_own(version: str, directory: Path, files: Mapping[str, Path]) -> None:
    """Refuse the tree of another kernel, by a few modules that came with it; strays among them are judged later."""
    came_with_it = [path for path in files if path.startswith("kernel/")]
    own = came_with_it or list(files)
    said: list[tuple[str, str]] = []
    for path in own[:: max(len(own) // _SAMPLES, 1)]:
        with contextlib.suppress(HostbuildError):  # a damaged one says nothing about the others
            magic = magic_of(read_module(files[path]))
            if release_of(magic) == version or (not came_with_it and judge(magic, version) is not Fit.NONE):
                return
            said.append((path, release_of(magic)))
    if said:
        path, release = said[0]
        raise KernelError(
            f"the modules in {directory} are for kernel {release or 'unknown'}, but the kernel is {version} "
            f"(as {Path(path).name} says); one would refuse the other"
        )


def _require_indexes(
    modules: Path, version: str, files: ModuleFiles, report: Reporter
) -> tuple[Path, list[str]]:
    """Give a directory with modules.dep: the modules' own, or one in the cache; and what it leaves out.

    The modules' own counts if it has a line for every module that is there: a depmod that could not read some
    left those out, and one that did not run after the last change knows nothing of them.
    """
    own = modules / DEP
    if is_regular(own):
        lines = text_of(read_regular(own)).splitlines()
        known = {module_name(line.partition(":")[0]) for line in lines}
        if known >= set(map(module_name, files.files)):
            return modules, []
    digest = hashlib.sha256()
    for path, file in files.files.items():
        status = file.stat()
        digest.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode())
    kept = debs.cache_directory() / "module-indexes"
    final = kept / f"{version}-{digest.hexdigest()[:16]}"
    found = sealed.find(final)
    if found is None:
        kept.mkdir(exist_ok=True)
        with scratch_directory(kept) as staging, report.step(f"Indexing the modules of {version}"):
            _make_indexes(staging, modules, version, files.files)
            found = sealed.publish(staging / "sealed", final)
    return found, (found / _LEFT_OUT).read_text(encoding="utf-8", errors="surrogateescape").splitlines()


def _make_indexes(staging: Path, modules: Path, version: str, files: Mapping[str, Path]) -> None:
    """Index a tree's modules below staging/sealed. Raises KernelError where none can be indexed."""
    trouble: list[str] = []
    endings: dict[str, str] = {}

    def plain() -> Iterator[tuple[str, bytes | Path]]:
        for path, file in files.items():
            to = plain_path(path)
            if to != path and to in files:
                continue  # beside one that is not compressed
            try:
                data = read_module(file)
                if not data.startswith(elf.MAGIC):
                    trouble.append(f"{modules / path} is left out: it is no ELF file")
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


def read_list(modules: Path, name: str) -> bytes:
    """Read one of the lists that the kernel's build leaves beside its modules; nothing where there is none."""
    try:
        return read_regular(modules / name)
    except FileNotFoundError:
        return b""
    except OSError as e:
        raise KernelError(f"cannot read {modules / name}: {e.strerror}") from e
