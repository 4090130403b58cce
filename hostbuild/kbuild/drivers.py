"""Drivers as people name them -> options of a source tree.

e1000, usb-storage, snd-hda-intel       a module's name, `-` and `_` alike
xhci, hda                               what everybody calls it, if the module is called otherwise
pci:v00008086d0000100Esv...             a modalias, looked up in the modules.alias of another kernel
SATA_AHCI, CONFIG_SATA_AHCI             the option itself
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hostbuild.arch import Arch
from hostbuild.errors import InputError
from hostbuild.kbuild.makefiles import index_modules
from hostbuild.near import did_you_mean
from modaliasd.core.kmod.names import module_name

# Where the kernel's modules come from, beside arch/; the rest (tools, samples, documentation) builds none.
_DIRECTORIES = (
    "block",
    "crypto",
    "drivers",
    "fs",
    "io_uring",
    "kernel",
    "lib",
    "mm",
    "net",
    "security",
    "sound",
    "virt",
)

# A word that people use -> the modules that they mean.
_COMMON_NAMES = {
    "xhci": ("xhci_pci",),
    "ehci": ("ehci_pci",),
    "ohci": ("ohci_pci",),
    "uhci": ("uhci_hcd",),
    "hda": ("snd_hda_intel",),
    "ac97": ("snd_intel8x0",),
    "scsi": ("sd_mod", "sr_mod"),
    "fat": ("vfat",),
    "virtio": ("virtio_pci",),
    "rtl8139": ("8139cp", "8139too"),
}

Lookup = Callable[[str], Sequence[str]]
"""modalias -> names of the modules whose aliases match it."""


@dataclass(frozen=True, slots=True)
class Driver:
    """One driver that somebody asked for.

    asked: the word they used. module: its name, "" where they named an option.
    options: those that build it; any one of them will do.
    """

    asked: str
    module: str
    options: tuple[str, ...]


def read_index(tree: Path, arch: Arch) -> dict[str, tuple[str, ...]]:
    """Read all Makefiles of a tree: module name -> the options that build it. Takes a second."""
    files = sorted(
        path
        for directory in (f"arch/{arch.facts.kbuild}", *_DIRECTORIES)
        for name in ("Makefile", "Kbuild")
        for path in (tree / directory).rglob(name)
    )
    return index_modules(
        (str(path.parent.relative_to(tree)), path.read_text(encoding="utf-8", errors="replace"))
        for path in files
    )


def resolve(
    word: str, index: Mapping[str, tuple[str, ...]], is_option: Callable[[str], bool], lookup: Lookup
) -> tuple[Driver, ...]:
    """Translate one word; raises InputError where it means nothing, with the nearest names that do.

    index: as read_index gives it. is_option: whether the tree has such an option.
    """
    if ":" in word:
        drivers = of_modalias(word, index, lookup)
        if not drivers:
            raise InputError(f"no module of this kernel source answers to {word}: no alias matches it")
        return drivers
    option = word.removeprefix("CONFIG_")
    if option.isupper() and is_option(option):
        return (Driver(word, "", (option,)),)
    modules = _COMMON_NAMES.get(word.lower(), (module_name(word),))
    if all(module in index for module in modules):
        return tuple(Driver(word, module, index[module]) for module in modules)
    near = did_you_mean(word, [*index, *_COMMON_NAMES])
    raise InputError(f"no Makefile of this kernel source builds a module named {word}{near}")


def of_modalias(modalias: str, index: Mapping[str, tuple[str, ...]], lookup: Lookup) -> tuple[Driver, ...]:
    """Return the drivers of this source that a modalias wants; none if nothing of this source matches."""
    modules = dict.fromkeys(module_name(name) for name in lookup(modalias))
    return tuple(Driver(modalias, module, index[module]) for module in modules if module in index)
