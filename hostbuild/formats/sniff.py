"""What a file is, told by its first bytes: for messages about a file that is not what was asked for.

Compressed data is looked into as far as a few kilobytes go. What nobody knows is DATA, and says nothing
against a file: its reader decides.
"""

import contextlib
import io
import json
import re
from enum import Enum
from pathlib import Path

from hostbuild.errors import InputError
from hostbuild.formats.compress import Compressor, detect
from hostbuild.formats.image_header import is_kernel_image
from hostbuild.formats.unpack import CompressionError, unpacked
from hostbuild.near import did_you_mean

_TAR_ENDING = re.compile(r"\.(tar(\.\w+)?|t[gbx]z2?|tzst)$")
_HEAD = 1 << 18  # a block of zstd, which is unpacked whole or not at all, has up to 128 KiB


class Kind(Enum):
    """A kind of file; the value is what a message calls it."""

    DIRECTORY = "a directory"
    EMPTY = "an empty file"
    IMAGE = "an initramfs image"
    PACKED = "a compressed file"
    KERNEL = "a kernel"
    LEDGER = "a ledger"
    CAPTURE = "a capture of a machine"
    MANIFEST = "an image's manifest"
    DEVICETREE = "a device tree blob"
    MACHINE = "a machine file"
    CONFIG = "a kernel configuration"
    ELF = "an ELF file (a program or a module)"
    PACKAGE = "a Debian package"
    TARBALL = "a tar archive"
    DISK = "a disk image"
    PAGE = "an HTML page"
    TEXT = "a text file"
    DATA = "data of an unknown kind"


# What takes a file of this kind; {} is its path.
_USE = {
    Kind.IMAGE: "hostbuild run {}",
    Kind.KERNEL: "a kernel is named by --kernel {}",
    Kind.LEDGER: "hostbuild tree {}, or hostbuild report {}, shows a ledger",
    Kind.CAPTURE: "hostbuild predict {}",
    Kind.DEVICETREE: "hostbuild predict {} --kernel deb:linux-image-arm64",
    Kind.MACHINE: "a machine file is named by --machine {}",
    Kind.CONFIG: "hostbuild kernel check {}",
    Kind.PACKAGE: "a package that holds a kernel is named by --kernel {}",
}
_MAGICS: tuple[tuple[bytes, Kind], ...] = (
    (b"0707", Kind.IMAGE),  # newc and its relatives
    (b"\x7fELF", Kind.ELF),
    (b"!<arch>\ndebian", Kind.PACKAGE),
    (b"\xd0\x0d\xfe\xed", Kind.DEVICETREE),
    (b"QFI\xfb", Kind.DISK),
    (b"hsqs", Kind.DISK),
)
_MACHINE_KEYS = re.compile(rb"(?m)^(devices|machine|cpus?|root_ports|memory)\s*=")
_CONFIG = re.compile(rb"(?m)^(CONFIG_\w+=|# CONFIG_\w+ is not set$)")


def kind_of_file(path: Path) -> Kind:
    """Tell what a file is; DATA where it cannot be read."""
    try:
        if path.is_dir():
            return Kind.DIRECTORY
        if not path.is_file():  # a FIFO would be waited for
            return Kind.DATA
        with path.open("rb") as file:
            kind = kind_of(file.read(_HEAD))
    except OSError:
        return Kind.DATA
    if kind is Kind.PACKED and path.with_name(path.name + ".manifest.json").is_file():
        return Kind.IMAGE
    return kind


def kind_of(head: bytes) -> Kind:
    """Tell what a file is by its first 256 KiB, or all of it."""
    if not head:
        return Kind.EMPTY
    if is_kernel_image(head):
        return Kind.KERNEL
    plain = head.lstrip(b"\0")[:16]  # the kernel skips NULs before an archive
    for magic, kind in _MAGICS:
        if plain.startswith(magic):
            return kind
    if head[257:262] == b"ustar":
        return Kind.TARBALL
    compressor = detect(head[:8])
    if compressor is not Compressor.NONE:
        inside = _unpacked_head(compressor, head)
        kind = kind_of(inside) if inside else Kind.PACKED
        return kind if kind in (Kind.IMAGE, Kind.CONFIG, Kind.TARBALL) else Kind.PACKED
    if b"\0" in head:
        return Kind.DISK if head[510:512] == b"\x55\xaa" else Kind.DATA
    return _kind_of_text(head)


def require_there(path: Path, what: str, hint: str = "") -> None:
    """Refuse a file that does not exist. what: what it should be, "image". Raises InputError with near names."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError) as e:
        raise InputError(f"cannot read the {what} {path}: {e.strerror}{near_files(path)}", hint=hint) from e
    except OSError:
        return  # whoever reads it says why it cannot be read


def near_files(path: Path) -> str:
    """Ask whether a file beside a path that does not exist was meant; "" where none is called alike."""
    try:
        return did_you_mean(path.name, [entry.name for entry in path.parent.iterdir()])
    except OSError:
        return ""


def require_kind(path: Path, wanted: Kind, *also: Kind) -> None:
    """Refuse a file that is not there, or is known to be something else than `wanted` or `also`.

    Raises InputError, which says what it is and what takes such a file.
    """
    require_there(path, wanted.value.partition(" ")[2])
    if trouble := instead(path, wanted, *also):
        raise InputError(trouble, hint=use_of(path))


def instead(path: Path, wanted: Kind, *also: Kind) -> str:
    """Say that a file is something else than what was wanted; "" if it may be that, or nobody knows."""
    kind = kind_of_file(path)
    return "" if kind in (wanted, *also, Kind.DATA) else f"{path} is {kind.value}, not {wanted.value}"


def use_of(path: Path, kind: Kind | None = None) -> str:
    """Say what takes such a file, as a hint; "" for those that nothing here takes."""
    kind = kind or kind_of_file(path)
    if kind is Kind.MANIFEST:
        image = path.with_name(path.name.removesuffix(".manifest.json"))
        return f"the image is {image}" if image != path and image.is_file() else ""
    return _USE.get(kind, "").replace("{}", str(path))


def _kind_of_text(head: bytes) -> Kind:
    if head.lstrip()[:1] in (b"{", b"["):
        return _kind_of_json(head)
    if head.startswith((b"P: /", b"@ ")):
        return Kind.CAPTURE  # umockdev-record's
    if re.match(rb"\s*<(!doctype html|html)", head, re.IGNORECASE):
        return Kind.PAGE
    if _CONFIG.search(head):
        return Kind.CONFIG
    if _MACHINE_KEYS.search(head):
        return Kind.MACHINE
    try:
        head[:4096].decode("utf-8", "strict" if len(head) <= 4096 else "ignore")
    except UnicodeDecodeError:
        return Kind.DATA
    return Kind.TEXT


def _kind_of_json(head: bytes) -> Kind:
    first = head.lstrip().partition(b"\n")[0]
    if b'"capture"' in head[:200]:
        return Kind.CAPTURE
    try:
        record = json.loads(first)
    except (ValueError, RecursionError):
        record = None
    if isinstance(record, dict) and isinstance(record.get("type"), str):
        return Kind.LEDGER
    if all(key in head for key in (b'"format"', b'"image"', b'"kernel"')):
        return Kind.MANIFEST
    return Kind.TEXT


def _unpacked_head(compressor: Compressor, head: bytes) -> bytes:
    """Unpack as much as the head has, up to its own size; b"" where that is nothing."""
    plain = bytearray()
    with contextlib.suppress(CompressionError, MemoryError):  # it is cut short
        for piece in unpacked(compressor, io.BytesIO(head)):
            plain += piece
            if len(plain) >= _HEAD:
                break
    return bytes(plain[:_HEAD])


def is_tarball(path: Path, kind: Kind) -> bool:
    """Tell whether a file of a kind is a tar archive; where it is packed so that nobody can tell, its name says."""
    return kind is Kind.TARBALL or (kind is Kind.PACKED and _TAR_ENDING.search(path.name) is not None)


def is_kernel_archive(path: Path, kind: Kind) -> bool:
    """Tell whether a file of a kind can be what a kernel's build packs its files into: a tar archive, a .deb."""
    return kind is Kind.PACKAGE or is_tarball(path, kind)
