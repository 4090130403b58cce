"""A kernel as people name it, found: its vmlinuz, and where its modules and its configuration are.

deb:PACKAGE[=VERSION][/RELEASE]     Debian's packages (packages.py); one that ends in -arm64 is another architecture's
running                             the kernel that runs here
6.12.9-amd64                        a version: in /boot, in /lib/modules, or Debian's package linux-image-VERSION
PATH of a vmlinuz                   beside boot/ or in its module directory, as Arch, Fedora and Debian have it
PATH of a directory                 a build tree (build_tree.py), a module directory, or a root with boot/ and lib/
PATH of a tar archive, or a .deb    such a root packed, as `make targz-pkg` and `bindeb-pkg` do (tarball.py)
"""

import os
import platform
import re
from dataclasses import dataclass, replace
from pathlib import Path

from hostbuild import arch as architectures
from hostbuild.apt import Spec, parse_spec
from hostbuild.arch import Arch
from hostbuild.errors import HostbuildError
from hostbuild.formats.sniff import Kind, is_kernel_archive, kind_of_file, use_of
from hostbuild.kernels.build_tree import BuildTree, is_build_tree, modules_in, read_build_tree, tree_of_image
from hostbuild.kernels.bzimage import KERNEL_WORDS, KernelError
from hostbuild.kernels.directory import TREES, images_in, require_one
from hostbuild.kernels.packages import PackagedKernel, require_packaged
from hostbuild.near import did_you_mean, listed
from hostbuild.ui import Reporter

SYSTEM = Path("/")
_VERSION = re.compile(r"(?P<version>\d+\.\d+[\w.+~-]*)(?P<release>/[a-z][a-z0-9.+-]*)?")
_OF_MODULES = ("modules.order", "modules.builtin", "modules.dep")  # what a module directory has


@dataclass(frozen=True, slots=True)
class Found:
    """A kernel's files; its modules were not looked at yet.

    root: where boot/ and lib/modules/VERSION are looked for. beside: the module directory that the vmlinuz lies in.
    """

    vmlinuz: Path
    origin: str
    root: Path = SYSTEM
    beside: Path | None = None
    tree: BuildTree | None = None
    packaged: PackagedKernel | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What looks wrong, and is no reason to refuse the kernel."""
        return self.tree.notes if self.tree is not None else ()

    def own_modules(self, version: str) -> Path | None:
        """Give the directory of modules that belongs to the kernel wherever it lies, None where none does."""
        if self.tree is not None:
            return modules_in(self.tree)
        if self.packaged is not None:
            return self.packaged.modules(version)
        return self.beside

    def config(self, version: str) -> Path | None:
        """Give the file of the kernel's configuration, None where there is none."""
        if self.tree is not None:
            return self.tree.config if self.tree.config.is_file() else None
        roots = self.packaged.roots if self.packaged is not None else (self.root,)
        places = [self.vmlinuz.with_name(f"config-{version}")]
        places += [self.beside / "config"] if self.beside is not None else []
        for root in roots:
            places += [
                root / "boot" / f"config-{version}",
                *(root / tree / version / "config" for tree in TREES),
            ]
        return next((place for place in places if place.is_file()), None)


def find_kernel(
    spec: str | None,
    report: Reporter,
    *,
    with_tree: bool = True,
    arch: Arch | None = None,
    release: str = "",
) -> Found:
    """Find the kernel that a word means; None takes the running one where it can be read, else Debian's package.

    with_tree: the bzImage of a build tree stands for all of the tree. arch: None for this machine's, where the word
    names none. release: of Debian, for another architecture's kernel where `spec` is None. Raises KernelError for what
    names no kernel.
    """
    if spec is None:
        wanted = arch or architectures.require_own()
        spec = f"deb:{wanted.facts.kernel}"
        if architectures.is_foreign(wanted):
            spec += f"/{release}" if release else ""
        elif _running() is not None:
            spec = "running"
    if spec.startswith("deb:"):
        packaged = require_packaged(_package(spec.removeprefix("deb:"), arch), report)
        return Found(packaged.vmlinuz, str(packaged.package), packaged=packaged)
    if spec == "running":
        vmlinuz = _running() or SYSTEM / f"boot/vmlinuz-{platform.release()}"
        return _of_file(vmlinuz, "running")
    named = _VERSION.fullmatch(spec)
    if named is not None and not os.path.lexists(spec):
        return _of_version(named["version"], named["release"] or "", report, arch)
    path = require_spec(spec).absolute()
    if not path.is_dir() and is_kernel_archive(path, kind := kind_of_file(path)):
        from hostbuild.kernels.tarball import unpacked_tarball

        return _of_file(require_one(unpacked_tarball(path, kind, report), path), str(path))
    tree = path if path.is_dir() else tree_of_image(path) if with_tree else None
    if tree is not None and is_build_tree(tree):
        built = read_build_tree(tree)
        return Found(built.vmlinuz, str(tree), tree=built)
    vmlinuz = require_one(path) if path.is_dir() else path
    return _of_file(vmlinuz, str(vmlinuz))


def is_word(spec: str) -> bool:
    """Tell whether a word names a kernel without being a path: a package, a version, the running one."""
    if spec == "running" or spec.startswith("deb:"):
        return True
    return _VERSION.fullmatch(spec) is not None and not os.path.lexists(spec)


def require_spec(spec: str) -> Path:
    """Return the path of a kernel that somebody named by it. Raises KernelError where it cannot be one."""
    path = Path(spec)
    if not path.exists():
        package = re.fullmatch(r"(linux-image-[a-z0-9+.-]+)", spec)
        near = did_you_mean(spec, ["running"]) if "/" not in spec else ""
        raise KernelError(
            f"cannot read the kernel {spec}: there is no such file{near}",
            hint=f"a package's kernel is named by deb:{package[1]}" if package else KERNEL_WORDS,
        )
    kind = kind_of_file(path)
    if kind is Kind.DIRECTORY and (is_build_tree(path) or images_in(path)):
        return path
    if kind not in (Kind.KERNEL, Kind.ELF, Kind.DATA) and not is_kernel_archive(path, kind):
        hint = use_of(path, kind) or KERNEL_WORDS
        raise KernelError(f"{path} is {kind.value}, not a kernel (vmlinuz)", hint=hint)
    return path


def _of_file(vmlinuz: Path, origin: str) -> Found:
    parent = vmlinuz.parent
    if parent.parent.name == "modules" or any((parent / name).is_file() for name in _OF_MODULES):
        above = parent.parent.parent  # /lib/modules, and what that lies in
        above = above.parent if above.name == "lib" else above
        return Found(vmlinuz, origin, above.parent if above.name == "usr" else above, beside=parent)
    # an unpacked package has boot/vmlinuz-X beside lib/modules/X
    return Found(vmlinuz, origin, parent.parent if parent.name == "boot" else SYSTEM)


def _package(text: str, arch: Arch | None) -> Spec:
    """Parse a package's name. Its ending counts more than `arch`: linux-image-arm64, linux-image-x:arm64."""
    spec = parse_spec(text)
    named = architectures.of_package(spec.name) or arch
    if named is None:
        return spec
    foreign = named.value if architectures.is_foreign(named) else ""
    return replace(spec, name=spec.name.removesuffix(f":{named}"), architecture=foreign)


def _of_version(version: str, release: str, report: Reporter, arch: Arch | None) -> Found:
    """Find a kernel by its version, on this machine unless a release is named, else in its package."""
    places = _places(version)
    found = next((place for place in places if place.is_file()), None)
    if found is not None and not release:
        return _of_file(found, str(found))
    name = f"linux-image-{version}{release}"
    try:
        packaged = require_packaged(_package(name, arch), report)
    except HostbuildError as e:
        looked = f" (there is no {listed(map(str, places), 'or')})" if not release else ""
        hint = e.hint
        if not release:
            hint = (
                f"--kernel {version}/RELEASE looks into another release of Debian, trixie or sid for example"
            )
        raise KernelError(f"no kernel {version} was found{looked}: {e}", hint=hint) from e
    return Found(packaged.vmlinuz, str(packaged.package), packaged=packaged)


def _places(version: str) -> list[Path]:
    return [SYSTEM / "boot" / f"vmlinuz-{version}", *(SYSTEM / tree / version / "vmlinuz" for tree in TREES)]


def _running() -> Path | None:
    """Give the vmlinuz of the kernel that runs here, None where it, or its modules, cannot be read."""
    release = platform.release()
    if not any((SYSTEM / tree / release).is_dir() for tree in TREES):
        return None
    return next((place for place in _places(release) if os.access(place, os.R_OK)), None)
