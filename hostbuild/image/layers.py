"""What a kernel makes of archives one after the other: of trees that are being packed, and images that lie there."""

import stat
from collections.abc import Iterable, Mapping, Sequence

from hostbuild.formats.initramfs.archive import Image
from hostbuild.formats.initramfs.newc import Member
from hostbuild.formats.initramfs.rootfs import Node, Root
from hostbuild.image.filetree import FileTree, NodeKind, TreeEntry

_IMAGE = 1 << 32  # members of the first image are numbered from here on, of the second from twice as much


class Layers:
    """The root file system of trees and, over them, of images. root: it."""

    def __init__(self, trees: Sequence[FileTree], images: Sequence[Image] = ()) -> None:
        """Unpack them in their order. Raises ImageError for an image that cannot be read."""
        self.root = Root()
        self._images = images
        self._entries: list[TreeEntry] = []
        for path, entry in (item for tree in trees for item in tree.items()):
            self._entries.append(entry)
            target = entry.target if entry.kind is NodeKind.SYMLINK else ""
            member = Member(path, entry.mode, entry.size(), device=entry.device, target=target)
            self.root.unpack(member, len(self._entries))
        for number, image in enumerate(images, 1):
            image.lay(self.root, number * _IMAGE)

    def read(self, paths: Iterable[str]) -> Mapping[str, bytes]:
        """Read files through links; what is no file is left out. Raises ImageError."""
        nodes = {path: node for path in paths if (node := self.root.find(path)) and stat.S_ISREG(node.mode)}
        wanted: dict[int, set[int]] = {}
        for node in nodes.values():
            layer, number = divmod(node.source or 0, _IMAGE)
            if layer:
                wanted.setdefault(layer, set()).add(number)
        found = {layer: self._images[layer - 1].members_data(numbers) for layer, numbers in wanted.items()}

        def data(node: Node) -> bytes:
            if node.source is None:
                return b""
            layer, number = divmod(node.source, _IMAGE)
            return found[layer][number] if layer else self._entries[number - 1].read()

        return {path: data(node) for path, node in nodes.items()}

    def image_of(self, node: Node) -> str:
        """Return the name of the image that a file's data are from; "" where they are of a tree, or it is no file."""
        layer = (node.source or 0) // _IMAGE
        return self._images[layer - 1].path.name if layer else ""
