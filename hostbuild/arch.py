"""Architectures as values: whatever differs between amd64, arm64 and riscv64 stands in one table, and nowhere else.

Names come from four worlds: Debian's (arm64, dpkg-architecture(1)), the kernel's for programs (aarch64, uname -m), the
kernel's for its sources (arch/arm64) and QEMU's (qemu-system-aarch64). e_machine is ELF's (elf(5)).
"""

import platform
from dataclasses import dataclass
from enum import Enum

from hostbuild.errors import UsageError, WorldError
from hostbuild.near import did_you_mean


@dataclass(frozen=True, slots=True)
class Facts:
    """What is to be known of an architecture.

    uname: as `uname -m` prints it. elf: e_machine of its programs and modules. triplet:
    the directory of its libraries below /usr/lib. lib64: programs name their loader below /lib64. kernel: Debian's
    package of the usual kernel. qemu, qemu_package: the program that emulates it, and Debian's package.
    branch_filter: the kernel's option for undoing xz's filter for its machine code; "" where Python's lzma has none.
    kbuild: the kernel's name for it (arch/, the head of a .config), which as an option is CONFIG_KBUILD. make: what
    ARCH= is, where it is another word. kernel_image: what `make` builds to boot, below arch/KBUILD/boot.
    cross: what the names of a cross compiler begin with, and cross_package, Debian's package of it.
    """

    uname: str
    elf: int
    triplet: str
    kernel: str
    qemu: str
    qemu_package: str
    kbuild: str
    kernel_image: str
    cross: str
    cross_package: str
    lib64: bool = False
    branch_filter: str = ""
    make: str = ""


class Arch(Enum):
    """An architecture that images can be made for; the value is Debian's name for it."""

    AMD64 = "amd64"
    ARM64 = "arm64"
    RISCV64 = "riscv64"

    @property
    def facts(self) -> Facts:
        """What is to be known of it."""
        return _FACTS[self]

    def __str__(self) -> str:
        return self.value


_FACTS = {
    Arch.AMD64: Facts(
        uname="x86_64",
        elf=62,
        triplet="x86_64-linux-gnu",
        kernel="linux-image-amd64",
        qemu="qemu-system-x86_64",
        qemu_package="qemu-system-x86",
        kbuild="x86",
        kernel_image="bzImage",
        cross="x86_64-linux-gnu-",
        cross_package="gcc-x86-64-linux-gnu",
        lib64=True,
        branch_filter="CONFIG_XZ_DEC_X86",
        make="x86_64",
    ),
    Arch.ARM64: Facts(
        uname="aarch64",
        elf=183,
        triplet="aarch64-linux-gnu",
        kernel="linux-image-arm64",
        qemu="qemu-system-aarch64",
        qemu_package="qemu-system-arm",
        kbuild="arm64",
        kernel_image="Image",
        cross="aarch64-linux-gnu-",
        cross_package="gcc-aarch64-linux-gnu",
    ),
    Arch.RISCV64: Facts(
        uname="riscv64",
        elf=243,
        triplet="riscv64-linux-gnu",
        kernel="linux-image-riscv64",
        qemu="qemu-system-riscv64",
        qemu_package="qemu-system-misc",
        kbuild="riscv",
        kernel_image="Image",
        cross="riscv64-linux-gnu-",
        cross_package="gcc-riscv64-linux-gnu",
    ),
}


def own() -> Arch | None:
    """Give this machine's architecture; None for one that images cannot be made for."""
    return of_uname(platform.machine())


def require_own() -> Arch:
    """Give this machine's architecture. Raises WorldError for one that images cannot be made for."""
    found = own()
    if found is None:
        raise WorldError(
            f"this machine is {platform.machine()}, for which hostbuild makes no images",
            hint=f"name another architecture: --arch {Arch.AMD64}",
        )
    return found


def is_foreign(arch: Arch) -> bool:
    """Tell whether programs of an architecture are not this machine's own."""
    return arch is not own()


def foreign_name(debian: str) -> str:
    """Give an architecture's Debian name back; "" for this machine's own, and for "all" and others."""
    found = next((arch for arch in Arch if arch.value == debian), None)
    return found.value if found is not None and is_foreign(found) else ""


def of_uname(name: str) -> Arch | None:
    """Find an architecture by what `uname -m` prints."""
    return next((arch for arch in Arch if arch.facts.uname == name), None)


def of_package(name: str) -> Arch | None:
    """Find the architecture that the name of a Debian package ends in, as those of kernels do: linux-image-arm64."""
    return next((arch for arch in Arch if name.endswith((f"-{arch}", f":{arch}"))), None)


def parse_arch(text: str) -> Arch:
    """Parse an architecture's name: Debian's, or as `uname -m` has it. Raises UsageError."""
    found = next((arch for arch in Arch if text in (arch.value, arch.facts.uname)), None)
    if found is None:
        names = [arch.value for arch in Arch]
        raise UsageError(
            f"unknown architecture {text!r}{did_you_mean(text, names)}; known are {', '.join(names)}"
        )
    return found
