"""Finds a kernel's configuration: a .config, one inside or beside a kernel, however that is named, the running one."""

import gzip
import os
import platform
from pathlib import Path

from hostbuild.errors import InputError
from hostbuild.formats import vmlinuz
from hostbuild.formats.compress import detect
from hostbuild.formats.sniff import Kind, instead, is_kernel_archive, kind_of, kind_of_file, use_of
from hostbuild.formats.unpack import CompressionError, decompress
from hostbuild.fs.files import read_input
from hostbuild.kernels.build_tree import is_build_tree
from hostbuild.kernels.bzimage import read_vmlinuz
from hostbuild.kernels.find import Found, find_kernel, is_word
from hostbuild.near import did_you_mean
from hostbuild.ui import Silent

_NAMES = (
    "name a .config, a vmlinuz, a build tree, a tar archive, a .deb, deb:PACKAGE, a version, or `running`"
)


def read_config_of(kernel: str) -> tuple[str, str]:
    """Return the text of a kernel's configuration, and where it was found.

    kernel: the path of a .config (plain, or packed, as /proc/config.gz is), or a kernel as kernels/find.py takes it.
    """
    if kernel == "running":
        return read_running_config()
    path = Path(kernel)
    if is_build_tree(path) and (path / ".config").is_file():  # built or not
        path = path / ".config"
        kernel = str(path)
    if is_word(kernel) or path.is_dir() or (path.is_file() and is_kernel_archive(path, kind_of_file(path))):
        return _read_of(find_kernel(kernel, Silent()))
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


def _read_of(found: Found) -> tuple[str, str]:
    """Take the configuration that lies beside a kernel, else look inside."""
    beside = found.config(read_vmlinuz(found.vmlinuz)[0])
    if beside is not None:
        return beside.read_text(encoding="utf-8"), f"{beside.name} of {found.origin}"
    return _read_from_image(found.vmlinuz, found.vmlinuz.read_bytes())


def _read_from_image(path: Path, data: bytes) -> tuple[str, str]:
    """Look inside the kernel image, then beside it, where Debian puts the configuration."""
    trouble: InputError | None = None
    inside = None
    try:
        inside = vmlinuz.find_ikconfig(vmlinuz.kernel_of(data))
    except InputError as e:
        trouble = e
    if inside is not None:
        return inside, f"{path} (inside)"
    beside = path.with_name(path.name.replace("vmlinuz", "config", 1))
    for file in (beside, _config_by_version(path)):
        if file is not None and file != path and file.is_file():
            return file.read_text(encoding="utf-8"), str(file)
    if trouble is not None:
        raise InputError(
            f"{path} is neither a configuration nor a kernel that can be read: {trouble}"
        ) from trouble
    raise InputError(
        f"{path} does not hold its configuration (it was built without CONFIG_IKCONFIG=y), "
        f"and {beside} does not exist",
        hint="name the configuration's file",
    )


def _config_by_version(image: Path) -> Path | None:
    """Find the configuration of a kernel image by the version that it names."""
    try:
        return find_kernel(str(image), Silent()).config(read_vmlinuz(image)[0])
    except InputError:
        return None
