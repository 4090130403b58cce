"""A unified kernel image: the kernel, the image and its command line in one EFI program, which firmware starts.

It is systemd's stub of Debian's package systemd-boot-efi, which is fetched and not installed, with sections of ours
(the UAPI group's "Unified Kernel Image"). It is not signed: firmware that asks for signatures refuses it.
"""

import shlex
from pathlib import Path

from hostbuild import debs
from hostbuild.apt import OWN, Lists
from hostbuild.arch import Arch
from hostbuild.errors import InputError, WorldError
from hostbuild.formats.manifest import kernel_path
from hostbuild.formats.pe import MAGIC, Section, add_sections
from hostbuild.fs.files import check_output, read_input, replace_file
from hostbuild.image.build import BuiltImage
from hostbuild.ui import Reporter, Silent

_PACKAGE = "systemd-boot-efi"
_STUBS = {
    Arch.AMD64: "linuxx64.efi.stub",
    Arch.ARM64: "linuxaa64.efi.stub",
    Arch.RISCV64: "linuxriscv64.efi.stub",
}
_LONGEST = 2048  # COMMAND_LINE_SIZE of x86 and arm64 (arch/*/include/uapi/asm/setup.h)


def check_uki(uki: Path, append: str) -> None:
    """Refuse before the work what would fail after it. Raises UsageError and InputError."""
    check_output(uki, "the unified kernel image")
    if len(append.encode()) >= _LONGEST:
        raise InputError(
            f"the command line has {len(append.encode())} bytes, and the kernel takes {_LONGEST - 1}"
        )
    if "\0" in append or "\n" in append:
        raise InputError("the kernel's command line is one line of text")


def write_uki(
    uki: Path, built: BuiltImage, append: str = "", lists: Lists = OWN, report: Reporter | None = None
) -> int:
    """Write the unified kernel image of an image, and return its size in bytes.

    append: words for the kernel's command line, behind the image's own. lists: those of the packages of the stub.
    Raises InputError for a kernel that firmware cannot start, WorldError where there is no stub.
    """
    report = report or Silent()
    vmlinuz = read_input(kernel_path(built.image), "the kernel")
    version = built.kernel.version
    if not vmlinuz.startswith(MAGIC):
        raise InputError(
            f"the kernel {version} is not an EFI program, which a unified kernel image takes",
            hint="hostbuild kernel configure --enable EFI --enable EFI_STUB",
        )
    own = str(built.manifest["append"])
    words = " ".join(filter(None, (own, append)))
    check_uki(uki, words)
    stub = require_stub(built.kernel.arch, lists, report)
    added = [
        Section(".osrel", _os_release(version)),
        Section(".uname", version.encode()),
        Section(".cmdline", words.encode()),
        Section(".initrd", read_input(built.image, "the image")),
        Section(".linux", vmlinuz),  # the last: what it is unpacked to may lie behind it
    ]
    with report.step("Writing the unified kernel image"):
        data = add_sections(read_input(stub, "systemd's stub"), added)
        with replace_file(uki, "the unified kernel image") as out:
            out.write(data)
            out.finish()
    return len(data)


def require_stub(arch: Arch, lists: Lists, report: Reporter) -> Path:
    """Return systemd's EFI stub, fetched if it is not in the cache. Raises WorldError where there is none."""
    name = _STUBS[arch]
    [package] = debs.describe([_PACKAGE], lists, report)
    stub = debs.require_unpacked(package, report) / "usr/lib/systemd/boot/efi" / name
    if not stub.is_file():
        raise WorldError(f"the package {package} has no {name}")
    return stub


def _os_release(version: str) -> bytes:
    fields = {
        "ID": "micro-linux",
        "NAME": "micro-Linux",
        "PRETTY_NAME": f"micro-Linux {version}",
        "VERSION_ID": version,
    }
    return "".join(f"{key}={shlex.quote(value)}\n" for key, value in fields.items()).encode()
