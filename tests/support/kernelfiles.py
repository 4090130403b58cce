"""Files of a kernel package, whatever the distribution packs them with: Debian 13's modules are .ko.xz."""

from pathlib import Path

from hostbuild.formats.modules.modfile import read_module
from hostbuild.kernels.kernel import Kernel
from modaliasd.core.kmod.names import module_name


def module_path(kernel: Kernel, name: str) -> Path:
    """The module's file; name: its file name without .ko."""
    assert kernel.modules is not None
    found = [path for path in kernel.modules.rglob(f"{name}.ko*") if path.is_file()]
    assert len(found) == 1, f"{len(found)} files of the module {name}"
    return found[0]


def kernel_release(kernel: Kernel) -> tuple[int, int]:
    """The kernel's version, as far as it stands in its sources' Makefile: (6, 12)."""
    major, minor = kernel.version.split(".")[:2]
    return int(major), int(minor)


def builtin_names(kernel: Kernel) -> set[str]:
    """The drivers inside the kernel, of those that could be modules."""
    assert kernel.modules is not None
    lines = (kernel.modules / "modules.builtin").read_text().splitlines()
    return {module_name(line) for line in lines}


def plain_module(kernel: Kernel, name: str) -> bytes:
    """The module, uncompressed."""
    return read_module(module_path(kernel, name))
