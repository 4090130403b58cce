"""The kernel that an image is made for: its vmlinuz, its version, its modules and their indexes.

The version stands in the x86 boot header (Documentation/arch/x86/boot.rst): "HdrS" at 0x202, at 0x20e a
16-bit offset, to which 0x200 is added, of a string that begins with the version.

Debian's packages carry no modules.dep, since depmod runs when they are installed. The indexes are then made
once, in hostbuild's cache, and the package's own files are left as they are.
"""

import hashlib
import os
import platform
import re
import shutil
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hostbuild import debs
from hostbuild.errors import HostbuildError, InputError, WorldError
from hostbuild.formats import elf
from hostbuild.formats.modfile import is_module, read_module
from hostbuild.formats.sniff import Kind, kind_of_file, use_of
from hostbuild.fs.files import read_input
from hostbuild.fs.scratch import scratch_directory
from hostbuild.near import did_you_mean
from hostbuild.run import run
from hostbuild.ui import Reporter

_KERNEL_WORDS = (
    "name a kernel by the path of a vmlinuz, by deb:PACKAGE (deb:linux-image-amd64), or as running"
)
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
    modules = _modules_of(version, root, modules_dir)
    config = vmlinuz.with_name(f"config-{version}")
    return Kernel(
        vmlinuz=vmlinuz,
        version=version,
        sha256=digest,
        origin=origin,
        modules=modules,
        indexes=_require_indexes(modules, version, report) if modules else None,
        config=config if config.is_file() else None,
        package=package,
        package_path=str(vmlinuz.relative_to(root)) if package else "",
    )


def require_spec(spec: str) -> Path:
    """Return the path of a kernel that somebody named by it. Raises KernelError where it cannot be one."""
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
    return text.split()[0]


def read_vmlinuz(path: Path) -> tuple[str, str]:
    """Return the version and the SHA-256 of a kernel image."""
    data = read_input(path, "the kernel", hint=_KERNEL_WORDS)
    try:
        return parse_version(data), hashlib.sha256(data).hexdigest()
    except KernelError as e:
        raise KernelError(f"{path} is not a kernel that QEMU can boot: {e}") from e


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


def _modules_of(version: str, root: Path, given: Path | None) -> Path | None:
    """Find the modules of a kernel, and make sure that they are its own."""
    if given is None:
        places = [root / "lib/modules" / version, root / "usr/lib/modules" / version]
        found = next((place for place in places if place.is_dir()), None)
    else:
        places = [given / "lib/modules" / version, given / version, given]
        found = next((place for place in places if _holds_modules(place)), None)
        if found is None:
            what = "is not a directory" if not given.is_dir() else "holds no kernel modules"
            raise KernelError(
                f"the modules directory {given} {what}; it has to be the /lib/modules/{version} of the kernel"
            )
    if found is None:
        return None
    sample = next(_module_files(found), None)
    if sample is None:
        return None
    built_for = _vermagic(sample)
    if built_for != version:
        raise KernelError(
            f"the modules in {found} are for kernel {built_for or 'unknown'}, but the kernel is {version} "
            f"(as {sample.name} says); one would refuse the other"
        )
    return found


def _holds_modules(directory: Path) -> bool:
    return directory.is_dir() and next(_module_files(directory), None) is not None


def _module_files(directory: Path) -> Iterator[Path]:
    """Yield module files in a fixed order. Links, as build/ and source/ are, are not followed."""
    for parent, below, names in os.walk(directory):
        below.sort()
        for name in sorted(names):
            if is_module(name):
                yield Path(parent, name)


def _vermagic(module: Path) -> str:
    import io

    try:
        fields = elf.modinfo(io.BytesIO(read_module(module)))
    except HostbuildError as e:
        raise KernelError(f"cannot read the module {module}: {e}") from e
    return " ".join(fields.get("vermagic", ("",))).partition(" ")[0]


def _require_indexes(modules: Path, version: str, report: Reporter) -> Path:
    """Return a directory with modules.dep: the modules' own, or one in the cache that depmod filled."""
    if (modules / "modules.dep").is_file():
        return modules
    digest = hashlib.sha256()
    for path in _module_files(modules):
        status = path.stat()
        digest.update(f"{path.relative_to(modules)} {status.st_size} {status.st_mtime_ns}\n".encode())
    kept = debs.cache_directory() / "indexes"
    final = kept / f"{version}-{digest.hexdigest()[:16]}"
    if final.is_dir():
        return final
    kept.mkdir(exist_ok=True)
    with scratch_directory(kept) as staging:
        base = staging / "lib/modules" / version
        base.mkdir(parents=True)
        for entry in modules.iterdir():
            # depmod reads the trees and lists of the original, and writes beside them here
            if entry.is_dir() and entry.name not in ("build", "source"):
                (base / entry.name).symlink_to(entry.absolute())
            elif entry.name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
                shutil.copyfile(entry, base / entry.name)
        with report.step(f"Indexing the modules of {version}"):
            run_depmod(staging, version)
        debs.publish(base, final)
    return final


def run_depmod(base: Path, version: str) -> None:
    """Write modules.dep and its companions into base/lib/modules/VERSION."""
    run(["depmod", "-b", base, version], timeout=300)
    if not (base / "lib/modules" / version / "modules.dep").is_file():
        raise WorldError(f"depmod wrote no modules.dep for {version} in {base}")
