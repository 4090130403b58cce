"""What an image has for root file systems (`--with root`), and one without does not: modules of the daemon, scripts."""

from collections.abc import Iterable

from hostbuild.image.filetree import FileTree
from hostbuild.image.sources.daemon import ModuleSource

_MODULES = (
    "modaliasd.core.root",
    "modaliasd.linux.root",
    "modaliasd.rootfs",
    "modaliasd.commands.root",
    "modaliasd.service.clients.root",
)
_SCRIPTS = ("usr/lib/micro/root", "usr/lib/micro/clear-root")


def without(sources: Iterable[ModuleSource]) -> list[ModuleSource]:
    """Return the daemon's modules for an image that mounts no root file system."""
    return [
        source
        for source in sources
        if not any(source.name == name or source.name.startswith(f"{name}.") for name in _MODULES)
    ]


def take_out(tree: FileTree) -> None:
    """Take the scripts out of such an image."""
    for path in _SCRIPTS:
        if path in tree:
            tree.remove(path)
