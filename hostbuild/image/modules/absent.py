"""modules.absent: aliases of the kernel's modules that lead to root file systems and are not in the image.

The guest has no other way to say which module a disk's controller needs that it has no driver for, and so what to
make the image with (modaliasd/core/root/diagnosis.py). Lines as in modules.alias; those of all else stay out.
"""

from collections.abc import Collection, Mapping

from hostbuild.formats.modules.modfile import plain_path
from hostbuild.image.modules.selection import parse_index
from modaliasd.core.kmod.tables import parse_modules_alias
from modaliasd.core.loading.priority import Rank, rank_of_module

ABSENT_NAME = "modules.absent"
_FURTHER = (
    "kernel/fs/",
    "kernel/net/9p/",
    "kernel/drivers/virtio/",
    "kernel/drivers/ufs/",
    "kernel/drivers/nvdimm/",
    "kernel/drivers/pci/",
    "kernel/drivers/memstick/",
    "kernel/drivers/misc/cardreader/",
    "kernel/drivers/xen/",
    "kernel/drivers/hv/",
)


def absent_aliases(tables: Mapping[str, bytes], carried: Collection[str]) -> bytes:
    """Return the table. tables: of the whole kernel, by their names; carried: the modules in the image, with `_`."""
    index = parse_index(tables)
    leading = {
        name
        for name, path in index.paths.items()
        if name not in carried and _leads_to_a_root(plain_path(path))
    }
    aliases, _ = parse_modules_alias(tables["modules.alias"])
    lines = [
        b"alias %s %s\n" % (alias.pattern, alias.module.encode())
        for alias in aliases
        if alias.module.replace("-", "_") in leading
    ]
    return b"".join(lines)


def _leads_to_a_root(path: str) -> bool:
    return rank_of_module(path) in (Rank.STORAGE, Rank.BUS) or path.startswith(_FURTHER)
