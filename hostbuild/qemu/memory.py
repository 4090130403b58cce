"""How much memory a guest needs to boot an image: a pure reckoning, from sizes known before the boot.

A kernel unpacks its initramfs in this situation (init/initramfs.c, mm/shmem.c, arch/x86/boot/header.S):

    kernel       what the boot header calls init_size, less what serves only to unpack the kernel itself
    descriptors  2 MiB for every 128 MiB of memory or part of them (sparsemem's struct pages)
    holes        what firmware keeps of the first MiB, and small change
    packed       the image as it was loaded; freed once it is unpacked
    unpacked     the root file system: whole pages, and an inode a file
    working      what drivers, slabs and the decompressor have taken by then

Two conditions, of which the harder one counts. The root file system is a tmpfs, which takes no more than half
of the memory that is free when it is mounted: neither kernel nor packed image is. And everything together has
to fit. With `rootfstype=ramfs` on the kernel's command line there is only the second.

The constants were measured by bisecting boots (`hostbuild ram --prove`) with Debian's 6.1 kernel and with one
made of tinyconfig; docs/memory.md has the table.
"""

from dataclasses import dataclass
from enum import Enum

from hostbuild.errors import UsageError

MIB = 1 << 20
_PAGE = 4096

_KERNEL_SHARE = (
    0.865  # of init_size: 57.0 of 63.6 MiB (Debian), 12.1 of 14.1 MiB (tinyconfig), with descriptors off
)
_SECTION = 128 * MIB
_DESCRIPTORS = 2 * MIB  # a section: 64 bytes a page
_HOLES = 1 * MIB
_INODE = 1024  # struct shmem_inode_info and its dentry, by slabtop
_WORKING_BASE = 6 * MIB
_WORKING_SHARE = 0.37  # of init_size: a kernel with more in it takes more at run time
_UNKNOWN_KERNEL = 64 * MIB  # where a kernel has no init_size: as large as Debian's

_TOLERANCE = 0.95  # of the estimate: what is less than this is refused
_MARGIN = 1.25  # for what the guest does once it has booted
_LEAST_MARGIN = 64 * MIB
_STEP = 32  # MiB
_LEAST = 256  # MiB


class Bound(Enum):
    """Which of the two conditions decides."""

    HALF = "the root file system may take only half of the free memory (tmpfs)"
    WHOLE = "packed and unpacked image, kernel and drivers have to fit at the same time"


@dataclass(frozen=True, slots=True)
class ImageSize:
    """What counts of an image, in bytes.

    packed: the image's file. unpacked: its files, each in whole pages. files: how many there are.
    ramfs: it is booted with rootfstype=ramfs. window: what unpacking it keeps in memory meanwhile.
    """

    packed: int
    unpacked: int
    files: int = 0
    ramfs: bool = False
    window: int = 0


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """The least memory that boots an image, and what it goes for; rows in bytes, `least` in MiB."""

    least: int
    bound: Bound
    rows: tuple[tuple[str, int], ...]

    @property
    def comfortable(self) -> int:
        """MiB for `--memory auto`: a margin for what the guest does, whole steps of 32 MiB, at least 256."""
        wanted = max(self.least * _MARGIN, self.least + _LEAST_MARGIN / MIB)
        return max(_LEAST, _round_up(int(wanted), _STEP))


def in_pages(sizes: list[int]) -> int:
    """Return the bytes that files of these sizes take in a root file system of whole pages."""
    return sum(_round_up(size, _PAGE) for size in sizes)


def estimate(image: ImageSize, init_size: int | None) -> MemoryEstimate:
    """Reckon the least memory for an image and a kernel.

    init_size: of the kernel's boot header (hostbuild.formats.vmlinuz), None where it has none.
    """
    size = init_size or _UNKNOWN_KERNEL
    kernel = int(size * _KERNEL_SHARE)
    inodes = image.files * _INODE
    working = int(_WORKING_BASE + size * _WORKING_SHARE)
    fixed = kernel + _HOLES + image.packed
    half = 0 if image.ramfs else fixed + 2 * image.unpacked
    whole = fixed + image.unpacked + inodes + working + image.window
    bound = Bound.HALF if half > whole else Bound.WHOLE
    least = _with_descriptors(max(half, whole))
    room = max(half - whole, 0)
    rows = (
        ("kernel", kernel),
        ("page descriptors", _sections(least) * _DESCRIPTORS),
        ("firmware's holes", _HOLES),
        ("packed image", image.packed),
        ("unpacked image", image.unpacked + inodes),
        ("drivers, decompressor", working + image.window),
        *((("free, because tmpfs takes only half", room),) if room else ()),
    )
    return MemoryEstimate(_round_up(least, MIB) // MIB, bound, rows)


def require_enough(estimated: MemoryEstimate, memory: int) -> None:
    """Refuse an amount of memory (MiB) in which the image cannot be unpacked, with the reason."""
    if memory < estimated.least * _TOLERANCE:
        raise UsageError(
            f"{memory} MiB is too little for this image, which needs {estimated.least}: "
            f"{estimated.bound.value}",
            hint=f"--memory {estimated.comfortable}, or --memory auto",
        )


def _with_descriptors(need: int) -> int:
    """Add the page descriptors of the memory that comes out, their own included."""
    total = need
    while total < need + _sections(total) * _DESCRIPTORS:
        total = need + _sections(total) * _DESCRIPTORS
    return total


def _sections(memory: int) -> int:
    return -(-memory // _SECTION)


def _round_up(value: int, step: int) -> int:
    return -(-value // step) * step
