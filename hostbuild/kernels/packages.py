"""A kernel from Debian's packages: one that has all of it, or several, as since 7.2.

    linux-image-amd64                depends on the newest
    linux-image-6.1.0-56-amd64       boot/vmlinuz-V, boot/config-V, lib/modules/V
    linux-image-7.2.13+deb14-amd64   nothing; it depends on
        linux-binary-V                   usr/lib/modules/V/vmlinuz
        linux-modules-V                  usr/lib/modules/V/kernel
        linux-base-V                     usr/lib/modules/V/config, modules.order, modules.builtin

Ubuntu's are split in two: linux-image-V and linux-modules-V.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hostbuild import debs
from hostbuild.apt import Spec
from hostbuild.fs.regular import is_regular
from hostbuild.kernels.assembled import assemble
from hostbuild.kernels.bzimage import KernelError
from hostbuild.kernels.depmod import LISTS, WEAKDEP
from hostbuild.kernels.kernel_modules import read_list
from hostbuild.kernels.module_files import find_module_files
from hostbuild.near import listed
from hostbuild.ui import Reporter

_IMAGE = "linux-image-"
_IMAGES = ("boot/vmlinu[xz]-*", "lib/modules/*/vmlinuz", "usr/lib/modules/*/vmlinuz")
_TREES = ("lib/modules", "usr/lib/modules")
_STEPS = 4  # from a metapackage to what it stands for


@dataclass(frozen=True, slots=True)
class PackagedKernel:
    """A kernel whose packages are unpacked, one in each of `roots`. package: the one with the vmlinuz."""

    vmlinuz: Path
    roots: tuple[Path, ...]
    packages: tuple[debs.Package, ...]
    package: debs.Package
    path: str

    def modules(self, version: str) -> Path | None:
        """Give the directory of its modules, None where there is none; put together if several packages have parts."""
        parts = [root / tree / version for root in self.roots for tree in _TREES]
        parts = [part for part in parts if part.is_dir()]
        with_modules = [part for part in parts if (part / "kernel").is_dir()]
        lists = {name: [part for part in parts if is_regular(part / name)] for name in (*LISTS, WEAKDEP)}
        needed = {*with_modules, *(where[0] for where in lists.values() if where)}
        if len(needed) < 2:
            return next(iter(needed), None)
        files: dict[str, Path] = {}
        for part in with_modules:
            files |= {path: Path(file) for path, file in find_module_files(part).files.items()}
        return assemble(
            version, files, {name: read_list(where[0], name) for name, where in lists.items() if where}
        )


def require_packaged(spec: Spec, report: Reporter) -> PackagedKernel:
    """Unpack the packages of a kernel. Raises KernelError where these hold none."""
    package = debs.describe_spec(spec, report)
    for _ in range(_STEPS):  # linux-image-amd64 depends on the package of a version
        versioned = [name for name in package.depends if name.startswith(_IMAGE)]
        if not versioned:
            break
        package = debs.describe_dependency(package, versioned[0])
    packages = _parts(package)
    roots = tuple(debs.require_unpacked(one, report) for one in packages)
    images = [
        (one, root, path)
        for one, root in zip(packages, roots, strict=True)
        for pattern in _IMAGES
        for path in sorted(root.glob(pattern))
    ]
    if len(images) != 1:
        raise _not_one(package, packages, [path.name for _, _, path in images])
    [(owner, root, path)] = images
    return PackagedKernel(path, roots, tuple(packages), owner, str(path.relative_to(root)))


def _parts(package: debs.Package) -> list[debs.Package]:
    """Give a kernel's package and those of its version that it depends on."""
    ending = "-" + package.name.removeprefix(_IMAGE)
    found = {package.name: package}
    waiting = [package]
    while waiting:
        one = waiting.pop()
        for name in one.depends:
            if name.startswith("linux-") and name.endswith(ending) and name not in found:
                found[name] = debs.describe_dependency(one, name)
                waiting.append(found[name])
    return list(found.values())


def _not_one(package: debs.Package, packages: Sequence[debs.Package], images: Sequence[str]) -> KernelError:
    who = f"the package {package}"
    if len(packages) > 1:
        who += f", with {listed([one.name for one in packages[1:]])},"
    found = (
        f"{len(images)} kernels, not one" if images else "no kernel (no vmlinuz in /boot or beside modules)"
    )
    return KernelError(f"{who} holds {found}", hint="deb:linux-image-amd64")
