"""The kernel that an image is made for: its vmlinuz, its version, its modules and their indexes.

How it is named, and where it is then, stands in find.py; its modules and their indexes in kernel_modules.py.
"""

from dataclasses import dataclass
from pathlib import Path

from hostbuild import debs
from hostbuild.arch import Arch
from hostbuild.formats import vmlinuz as image
from hostbuild.fs.regular import read_regular
from hostbuild.kernels.bzimage import KernelError, parse_version, read_arch, read_vmlinuz
from hostbuild.kernels.find import find_kernel, require_spec
from hostbuild.kernels.kernel_modules import modules_of, require_indexes
from hostbuild.ui import Reporter

__all__ = ["Kernel", "KernelError", "parse_version", "read_vmlinuz", "require_kernel", "require_spec"]


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel on the host.

    version: as uname -r prints it. sha256: of the vmlinuz. arch: the one that it was built for.
    modules: the directory that holds `kernel/`, None for a kernel without modules.
    indexes: the directory that holds modules.dep and its companions.
    config: the kernel's configuration, None where it is not known.
    origin: where it came from: "linux-image-6.1.0-56-amd64 6.1.192-2", "running", the path of a vmlinuz or a tree.
    package: the package that it is from, if it is from one; package_path: the vmlinuz's path in it. packages: all that
    it is from.
    left_out: module files that are none, or that nobody can read, and what looks wrong besides, in words.
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
    packages: tuple[debs.Package, ...] = ()
    left_out: tuple[str, ...] = ()
    vermagic: str = ""
    arch: Arch = Arch.AMD64

    def read_config(self) -> str | None:
        """Give the text of its configuration: of the file, else of what the kernel holds; None if nobody tells."""
        if self.config is not None:
            return self.config.read_text(encoding="utf-8", errors="replace")
        return image.config_in(read_regular(self.vmlinuz))


def require_kernel(
    spec: str | None,
    modules_dir: Path | None,
    report: Reporter,
    *,
    arch: Arch | None = None,
    release: str = "",
) -> Kernel:
    """Find a kernel and make its module indexes available.

    spec: as find.py takes it; None takes the running one where it can be read, else Debian's package.
    modules_dir: where its modules are, if not where they belong. arch: the one that it has to be for, None for
    whichever it is. release: Debian's, for another architecture's kernel that nobody names.
    """
    found = find_kernel(spec, report, with_tree=modules_dir is None, arch=arch, release=release)
    built_for = read_arch(found.vmlinuz)
    if arch is not None and built_for is not arch:
        raise KernelError(
            f"the kernel {found.origin} is for {built_for}, not for {arch}",
            hint=f"--arch {built_for}, or --kernel deb:{arch.facts.kernel}",
        )
    version, digest = read_vmlinuz(found.vmlinuz)
    own = found.own_modules(version) if modules_dir is None else None
    modules, files, magic = modules_of(version, found.root, own, modules_dir)
    indexes, lacking = require_indexes(modules, version, files, report) if modules else (None, [])
    packaged = found.packaged
    return Kernel(
        vmlinuz=found.vmlinuz,
        version=version,
        sha256=digest,
        origin=found.origin,
        arch=built_for,
        modules=modules,
        indexes=indexes,
        config=found.config(version),
        package=packaged.package if packaged else None,
        package_path=packaged.path if packaged else "",
        packages=packaged.packages if packaged else (),
        left_out=(*found.notes, *files.problems, *lacking),
        vermagic=magic,
    )
