"""How an image keeps its modules: plain, each compressed, or all of them in one squashfs.

Plain modules need nothing of the guest, and the image's own compressor packs them best; unpacked they take
their full size of the guest's memory. Where that is too much:

    gzip, xz, zstd   each module is compressed, and kmod's modprobe unpacks it, if it was built with the library
                     (Debian 12's was not for gzip). busybox hands the file to the kernel as it is ("Invalid ELF
                     header magic"), and gets no further with zstd.
    squashfs         one file, mounted at /usr/lib/modules/VERSION before anything asks for a module; any
                     modprobe reads it. Smaller than modules that are compressed one by one, since they have
                     much in common. The drivers loop and squashfs lie outside, plain, in usr/lib/micro/store.
                     It is packed by xz.
    squashfs-zstd    the same by zstd, a seventh larger: what a boot loads is unpacked in a tenth of the time.

An image with a squashfs boots with rootfstype=ramfs: in a tmpfs the packed file, which lies in memory twice
while the image is unpacked, would count against the half that a tmpfs may take (hostbuild.qemu.memory).
"""

import gzip
import hashlib
import lzma
import os
from collections.abc import Callable, Container, Sequence
from enum import Enum
from pathlib import Path

import zstandard

from hostbuild import debs
from hostbuild.errors import UsageError
from hostbuild.formats.kconfig import parse_config, value_of
from hostbuild.fs import sealed
from hostbuild.fs.scratch import scratch_directory
from hostbuild.image.modules.module import Module, load
from hostbuild.image.modules.selection import close, read_index
from hostbuild.kernels.kernel import Kernel
from hostbuild.run import run

DRIVERS_DIRECTORY = "usr/lib/micro/store"
APPEND = "rootfstype=ramfs"

_DRIVERS = ("loop", "squashfs")
# In a kernel that has them as modules or built in; to these comes how the squashfs is packed.
_WANTED = (("BLK_DEV_LOOP", "ym"), ("SQUASHFS", "ym"))
_PACK_TIMEOUT = 1800.0  # seconds; all of Debian's modules take 100 on one processor


class Store(Enum):
    """How modules lie in the image; the value is its name on the command line."""

    PLAIN = "none"
    KEEP = "keep"
    GZIP = "gzip"
    XZ = "xz"
    ZSTD = "zstd"
    SQUASHFS = "squashfs"
    SQUASHFS_ZSTD = "squashfs-zstd"

    @property
    def squashed(self) -> bool:
        """Whether they lie in one file, which is mounted."""
        return self in _SQUASHED


# The kernel's option, and mksquashfs's. Larger blocks pack better (1M: 8 %) and are slower to read: a module costs the
# unpacking of a whole block.
_SQUASHED = {
    Store.SQUASHFS: ("SQUASHFS_XZ", ("-comp", "xz", "-b", "256K")),
    Store.SQUASHFS_ZSTD: ("SQUASHFS_ZSTD", ("-comp", "zstd", "-Xcompression-level", "19", "-b", "128K")),
}

_ENDINGS: dict[Store, tuple[str, Callable[[bytes], bytes]]] = {
    Store.GZIP: (".gz", lambda data: gzip.compress(data, 9, mtime=0)),
    # CRC32 is the check that the kernel's own decoder knows (MODULE_DECOMPRESS)
    Store.XZ: (".xz", lambda data: lzma.compress(data, check=lzma.CHECK_CRC32)),
    Store.ZSTD: (".zst", zstandard.ZstdCompressor(level=19).compress),
}
_BY_ENDING = dict(_ENDINGS.values())
ALL = frozenset(_BY_ENDING)


def require_readable(
    store: Store, carried: Sequence[Module], readable: Container[str], modprobe: str
) -> list[str]:
    """Refuse compressed modules that the image's modprobe cannot read; give warnings about those to be carried plain.

    readable: the endings that it unpacks, modprobe: what it is called. What `keep` cannot keep is unpacked.
    """
    if store in _ENDINGS and _ENDINGS[store][0] not in readable:
        able = [one.value for one, (ending, _) in _ENDINGS.items() if ending in readable]
        raise UsageError(
            f"{modprobe} cannot read modules compressed by {store.value}",
            hint=f"--compress-modules {' or '.join([*able, 'none', 'squashfs'])}"
            + ("" if able else ", or --modprobe kmod"),
        )
    if store is not Store.KEEP:
        return []
    unreadable = sorted(
        {module.ending for module in carried if module.ending and module.ending not in readable}
    )
    if unreadable and not any(ending in readable for ending in _BY_ENDING):
        raise UsageError(
            f"{modprobe} cannot read compressed modules (Invalid ELF header magic)",
            hint="--modprobe kmod, or --compress-modules none or squashfs",
        )
    return [f"{modprobe} cannot read {ending} modules: they are carried plain" for ending in unreadable]


def ending(module: Module, store: Store, readable: Container[str]) -> str:
    """Give what the name of a module's file in the image ends with after `.ko`."""
    if store is Store.KEEP:
        return module.ending if module.ending in readable else ""
    return _ENDINGS[store][0] if store in _ENDINGS else ""


def compressed(module: Module, ending: str) -> bytes:
    """Give a module's bytes as a file with that ending holds them."""
    return _BY_ENDING[ending](module.read())


def require_drivers(kernel: Kernel, store: Store) -> tuple[Module, ...]:
    """Return the modules that mount a squashfs, in the order of insertion; none for those that are built in."""
    text = kernel.read_config()
    if text is not None:
        config = parse_config(text)
        unpacker, _ = _SQUASHED[store]
        wanted = (*_WANTED, (unpacker, "y"))
        missing = [option for option, values in wanted if value_of(config, option) not in values]
        if missing:
            names = ", ".join(f"CONFIG_{option}" for option in missing)
            raise UsageError(
                f"kernel {kernel.version} cannot mount a squashfs: {names} off",
                hint=f"hostbuild kernel configure --module loop --module squashfs --enable {unpacker}",
            )
    index = read_index(kernel)
    assert kernel.modules is not None, "read_index refuses a kernel without modules"
    drivers = [name for name in _DRIVERS if name in index.paths]
    ordered = sorted(close(drivers, index), key=lambda name: (len(index.depends[name]), name))
    return tuple(load(ordered, index, kernel.modules))


def require_squashfs(directory: Path, store: Store) -> Path:
    """Pack a directory and give the file, which stays in hostbuild's cache: nothing is packed twice.

    Everything belongs to root and times are 0: the same files give the same bytes.
    """
    _, packing = _SQUASHED[store]
    options = [*packing, "-all-root", "-all-time", "0", "-mkfs-time", "0", "-no-xattrs"]
    digest = hashlib.sha256("\0".join(options).encode())
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(directory)}\0{len(content)}\0".encode() + content)
    kept = debs.cache_directory() / "stores"
    kept.mkdir(exist_ok=True)
    name = "modules.squashfs"
    final = kept / digest.hexdigest()[:24]
    found = sealed.find(final)
    if found is None:
        with scratch_directory(kept) as staging:
            root = sealed.root_of(staging / "sealed")
            root.mkdir(parents=True)
            run(
                ["mksquashfs", directory, root / name, *options, "-noappend", "-no-progress", "-quiet"],
                timeout=_PACK_TIMEOUT,
                # mksquashfs takes its times from the options or from this variable, and refuses both
                env={name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"},
            )
            found = sealed.publish(staging / "sealed", final)
    return found / name
