"""Images of other tools, put behind ours: the kernel unpacks all of them, and what the last says of a path holds.

    ours | NULs to a multiple of 4 | the first, as it is | NULs | the second ...

What the kernel cannot unpack where it will stand is refused before anything is written.
"""

import hashlib
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hostbuild.errors import InputError, UsageError
from hostbuild.formats.compress import KERNEL_OPTION, Compressor
from hostbuild.formats.initramfs.archive import Image, open_image
from hostbuild.formats.initramfs.rootfs import Node
from hostbuild.formats.kconfig import Config, value_of
from hostbuild.formats.modules.modfile import is_module
from hostbuild.fs.files import read_error
from hostbuild.fs.regular import is_regular
from hostbuild.image.filetree import FileTree
from hostbuild.image.layers import Layers
from hostbuild.image.manifest import file_row
from hostbuild.near import listed
from modaliasd.core.kmod.names import module_name

_PIECE = 1 << 20
GROUP = "appended"


@dataclass(frozen=True, slots=True)
class Behind:
    """An image that goes behind ours."""

    image: Image
    sha256: str

    @property
    def last(self) -> Compressor:
        """How its last archive is packed."""
        return self.image.segments[-1].compressor

    @property
    def unpacked(self) -> int:
        """Bytes of its archives."""
        return sum(segment.unpacked for segment in self.image.segments)

    def pieces(self) -> Iterator[bytes]:
        """Give its bytes. Raises InputError where it is not what it was when it was looked at."""
        digest = hashlib.sha256()
        for piece in _pieces(self.image.path):
            digest.update(piece)
            yield piece
        if digest.hexdigest() != self.sha256:
            raise InputError(
                f"{self.image.path} has changed while the image was built", hint="build it again"
            )

    def row(self) -> dict[str, Any]:
        """Say for the manifest what it is."""
        compressors = dict.fromkeys(segment.compressor.value for segment in self.image.segments)
        return {
            "file": self.image.path.name,
            "size": self.image.size,
            "sha256": self.sha256,
            "compressors": list(compressors),
        }


def read_behind(paths: Sequence[Path], config: Config | None) -> list[Behind]:
    """Look at images that are to be appended. Raises InputError for what a kernel would not unpack, or not there.

    config: the kernel's configuration, None where it is not known.
    """
    digests = [digest_of(path) for path in paths]
    behind = [
        Behind(open_image(path).require_whole(), digest) for path, digest in zip(paths, digests, strict=True)
    ]
    for number, one in enumerate(behind, 1):
        _check(one.image, config, last=number == len(paths))
    return behind


def _check(image: Image, config: Config | None, *, last: bool) -> None:
    """Refuse what a kernel would not unpack where it will stand."""
    if image.bootconfig and not last:
        raise InputError(
            f"{image.path} ends with a bootconfig, which a kernel finds at the end of the whole image only",
            hint="append it as the last",
        )
    for compressor in dict.fromkeys(segment.compressor for segment in image.segments):
        option = KERNEL_OPTION.get(compressor)
        if option is not None and config is not None and value_of(config, option[7:]) != "y":
            raise UsageError(
                f"the kernel cannot unpack {image.path}: it is packed by {compressor.value}, and {option} is off",
                hint="pack it with another compressor",
            )


def digest_of(path: Path) -> str:
    """Return a file's SHA-256. Raises InputError."""
    digest = hashlib.sha256()
    for piece in _pieces(path):
        digest.update(piece)
    return digest.hexdigest()


def tell(
    manifest: dict[str, Any], front: FileTree, layers: Layers, behind: Sequence[Behind], version: str
) -> None:
    """Let a manifest of our tree say what there is in the end: rows of files and modules, and the parts' sizes.

    front: the tree before ours. version: the kernel's, whose modules count.
    """
    early = [file_row(path, entry) for path, entry in front.items()]
    if behind:
        names = listed([one.image.path.name for one in behind])
        ours = {str(row["path"]): row for row in (*early, *manifest["files"])}
        manifest["files"] = [_row(path, node, ours, layers, names) for path, node in layers.root.walk()]
        manifest["modules"] = _modules(manifest, version)
    else:
        manifest["files"] = [*early, *manifest["files"]]
    manifest["groups"] = _groups(manifest["files"])


def _row(
    path: str, node: Node, ours: Mapping[str, dict[str, Any]], layers: Layers, names: str
) -> dict[str, Any]:
    """Give the row of a path: ours, unless an image has written over it."""
    row: dict[str, Any] = {"path": path, "mode": f"{node.mode:06o}", "size": node.size}
    if stat.S_ISLNK(node.mode):
        row["target"] = node.target
    image = layers.image_of(node)
    told = ours.get(path)
    if not image and told is not None and all(told.get(key) == value for key, value in row.items()):
        return told
    return {**row, "group": GROUP, "origin": image or names}


def _modules(manifest: Mapping[str, Any], version: str) -> list[dict[str, Any]]:
    inside = re.compile(rf"(?:usr/)?lib/modules/{re.escape(version)}/(?P<path>.+)")
    modules = {str(row["name"]): row for row in manifest["modules"]}
    for row in manifest["files"]:
        match = inside.fullmatch(row["path"])
        if match is not None and is_module(match["path"]) and row["group"] == GROUP:
            name = module_name(match["path"].rpartition("/")[2])
            modules[name] = {
                "name": name,
                "path": match["path"],
                "size": row["size"],
                "origin": row["origin"],
            }
    return [modules[name] for name in sorted(modules)]


def _groups(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    groups: dict[str, dict[str, int]] = {}
    for row in rows:
        group = groups.setdefault(row["group"], {"files": 0, "size": 0})
        group["files"] += not stat.S_ISDIR(int(row["mode"], 8))
        group["size"] += row["size"]
    return dict(sorted(groups.items()))


def _pieces(path: Path) -> Iterator[bytes]:
    """Read a file that is read more than once. Raises InputError, for a pipe as well."""
    if path.exists() and not is_regular(path):
        raise InputError(
            f"cannot read {path}: it is not a regular file, and is read more than once",
            hint="save it as a file",
        )
    try:
        with path.open("rb") as stream:
            while piece := stream.read(_PIECE):
                yield piece
    except OSError as e:
        raise read_error(path, "the image", e) from e
