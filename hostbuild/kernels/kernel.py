"""The kernel that an image is made for: its vmlinuz, its version, its modules and their indexes.

The version stands in the x86 boot header (Documentation/arch/x86/boot.rst): "HdrS" at 0x202, at 0x20e a
16-bit offset, to which 0x200 is added, of a string that begins with the version.

Its modules and their indexes are found by kernel_modules.py.
"""

import hashlib
import os
import platform
import re
import struct
from dataclasses import dataclass
from pathlib import Path

from hostbuild import debs
from hostbuild.errors import WorldError
from hostbuild.formats.sniff import Kind, kind_of_file, use_of
from hostbuild.fs.files import read_error
from hostbuild.fs.regular import read_regular
from hostbuild.kernels.kernel_modules import KernelError, modules_of, require_indexes
from hostbuild.near import did_you_mean
from hostbuild.ui import Reporter

__all__ = ["Kernel", "KernelError", "parse_version", "read_vmlinuz", "require_kernel", "require_spec"]

_KERNEL_WORDS = (
    "name a kernel by the path of a vmlinuz, by deb:PACKAGE (deb:linux-image-amd64), or as running"
)
_VERSION = re.compile(r"(?!\.)[!-.0-~]+")
_DEB_ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}


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
    vermagic: its version magic, as a module tells that came with it; "" if it is not known.
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
    vermagic: str = ""


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
    modules, files, magic = modules_of(version, root, modules_dir)
    indexes, lacking = require_indexes(modules, version, files, report) if modules else (None, [])
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
        vermagic=magic,
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
