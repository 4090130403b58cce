"""Finds a kernel's configuration: a .config, one inside or beside a vmlinuz, the running one."""

import gzip
import os
import platform
from pathlib import Path

from hostbuild.errors import InputError
from hostbuild.formats import vmlinuz
from hostbuild.formats.compress import detect
from hostbuild.formats.sniff import Kind, instead, kind_of, use_of
from hostbuild.formats.unpack import CompressionError, decompress
from hostbuild.fs.files import read_input
from hostbuild.kernels.kernel import require_kernel
from hostbuild.near import did_you_mean
from hostbuild.ui import Silent

_NAMES = "name a .config, a vmlinuz, deb:PACKAGE, or `running`"


def read_config_of(kernel: str) -> tuple[str, str]:
    """Return the text of a kernel's configuration, and where it was found.

    kernel: "running", "deb:PACKAGE", the path of a .config (plain, or packed, as /proc/config.gz is), or of a vmlinuz.
    """
    if kernel == "running":
        return read_running_config()
    if kernel.startswith("deb:"):
        return _read_from_package(kernel)
    path = Path(kernel)
    if not os.path.lexists(path):
        raise InputError(
            f"there is no kernel or configuration {kernel}{did_you_mean(kernel, ['running'])}",
            hint=f"a package's kernel is named by deb:{kernel}"
            if kernel.startswith("linux-image-")
            else _NAMES,
        )
    if other := instead(path, Kind.KERNEL, Kind.CONFIG, Kind.ELF, Kind.TEXT, Kind.PACKED):
        raise InputError(f"{other}, and no configuration", hint=use_of(path) or _NAMES)
    data = read_input(path, "the kernel or configuration", hint=_NAMES)
    try:
        data = decompress(detect(data), data)[0]
    except CompressionError as e:
        raise InputError(f"{kernel} is packed, and cannot be unpacked: {e}", hint=e.hint) from e
    if kind_of(data) is Kind.CONFIG:
        return data.decode("utf-8", "replace"), kernel
    return _read_from_image(path, data)


def read_running_config() -> tuple[str, str]:
    """Return the configuration of the kernel that runs here; InputError where the system does not tell."""
    inside, beside = Path("/proc/config.gz"), Path(f"/boot/config-{platform.release()}")
    if inside.is_file():
        return gzip.decompress(inside.read_bytes()).decode(), str(inside)
    if beside.is_file():
        return beside.read_text(encoding="utf-8"), str(beside)
    raise InputError(
        f"the running kernel does not tell its configuration: there is neither {inside} nor {beside}",
        hint="name the file of a configuration, or a vmlinuz",
    )


def _read_from_package(spec: str) -> tuple[str, str]:
    """Take the configuration that Debian's packages bring beside the kernel, else look inside."""
    found = require_kernel(spec, None, Silent())
    if found.config is not None:
        return found.config.read_text(encoding="utf-8"), f"{found.config.name} of {found.origin}"
    return _read_from_image(found.vmlinuz, found.vmlinuz.read_bytes())


def _read_from_image(path: Path, data: bytes) -> tuple[str, str]:
    """Look inside the kernel image, then beside it, where Debian puts the configuration."""
    try:
        inside = vmlinuz.find_ikconfig(vmlinuz.kernel_of(data))
    except InputError as e:
        raise InputError(f"{path} is neither a configuration nor a kernel that can be read: {e}") from e
    if inside is not None:
        return inside, f"{path} (inside)"
    beside = path.with_name(path.name.replace("vmlinuz", "config", 1))
    if "vmlinuz" in path.name and beside.is_file():
        return beside.read_text(encoding="utf-8"), str(beside)
    raise InputError(
        f"{path} does not hold its configuration (it was built without CONFIG_IKCONFIG=y), "
        f"and {beside} does not exist",
        hint="name the configuration's file",
    )
