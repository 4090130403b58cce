"""A kernel's build tree as `make` leaves it, laid out from one that was built elsewhere: no compiler, real modules."""

import shutil
import struct
from collections.abc import Iterable
from pathlib import Path

from hostbuild.formats.modules.modfile import plain_path, read_module
from hostbuild.image.modules.selection import close, read_index
from hostbuild.kernels.depmod import LISTS
from hostbuild.kernels.kernel import Kernel
from hostbuild.kernels.kernel_modules import read_list
from hostbuild.kernels.module_files import locate
from modaliasd.core.loading.signature import MARK

IMAGE = "arch/x86/boot/bzImage"


def lay_out(kernel: Kernel, root: Path, names: Iterable[str] | None = None) -> Path:
    """Make the tree. names: the modules to be in it, with what they need; None takes all."""
    assert kernel.modules is not None
    config = "".join(
        line
        for line in (kernel.read_config() or "").splitlines(keepends=True)
        if not line.startswith(("CONFIG_MODULE_SIG_FORCE", "CONFIG_DEBUG_INFO="))
    )
    lay_out_without_modules(root, kernel.vmlinuz, kernel.version, config)
    index = read_index(kernel)
    order = []
    wanted = close(names, index) if names is not None else sorted(index.paths)
    for name in (one for one in wanted if one in index.paths):  # others are inside the kernel
        path = plain_path(index.paths[name]).removeprefix("kernel/")
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(unsigned(read_module(locate(index.paths[name], kernel.modules))))
        order.append(f"{path}\n")
    (root / "modules.order").write_text("".join(order))
    for name in LISTS:
        if name != "modules.order":
            (root / name).write_bytes(read_list(kernel.modules, name))
    return root


def unsigned(module: bytes) -> bytes:
    """Take the signature off a module: make puts it on when it installs them (kernel/module/signing.c)."""
    if not module.endswith(MARK):
        return module
    head = len(module) - len(MARK) - 12  # struct module_signature
    (size,) = struct.unpack_from(">I", module, head + 8)
    return module[: head - size]


def lay_out_without_modules(root: Path, vmlinuz: Path, version: str, config: str = "") -> Path:
    """Make the tree of a kernel that has everything inside."""
    for name in ("include/config", "arch/x86/boot"):
        (root / name).mkdir(parents=True)
    for name in ("Kbuild", "Kconfig", "Makefile"):
        (root / name).touch()
    (root / ".config").write_text(config)
    (root / "include/config/auto.conf").write_text(config)
    (root / "include/config/kernel.release").write_text(f"{version}\n")
    shutil.copyfile(vmlinuz, root / IMAGE)
    return root
