"""Kernel modules that go into an image, read by their names; what is found in them is remembered by their contents."""

import io
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from hostbuild.errors import HostbuildError, InputError
from hostbuild.formats import elf, elf_references, elf_sections
from hostbuild.formats.modules import asks, vermagic
from hostbuild.formats.modules.asks import NONE, Asks, asks_of_module
from hostbuild.formats.modules.modfile import read_module
from hostbuild.formats.modules.vermagic import magic_of
from hostbuild.fs import answers, sealed
from hostbuild.image.modules.selection import Index
from hostbuild.kernels.kernel import KernelError
from hostbuild.kernels.module_files import locate, place_in_tree

# of a module in a plain file, what reading it tells: size, firmware, vermagic, asks
Facts = tuple[int, tuple[str, ...], str, tuple[frozenset[str], frozenset[str], tuple[tuple[str, str], ...]]]


Known = tuple[Path, Facts]  # and the file
_READERS = (asks, elf, elf_references, elf_sections, vermagic)


@dataclass(frozen=True, slots=True)
class Module:
    """A module that goes into the image.

    path: where, below lib/modules/VERSION, uncompressed. content: its bytes, or its file if that is plain.
    firmware: the names of what it may ask for, sorted. ending: of its file on the host, ".xz" or the like,
    "" if that is plain. origin: the overlay that brings it, "" for one of the kernel's. asks: what it asks for by name.
    """

    name: str
    path: str
    content: bytes | Path
    size: int
    firmware: tuple[str, ...]
    ending: str = ""
    origin: str = ""
    vermagic: str = ""
    asks: Asks = NONE

    def read(self) -> bytes:
        """Give its bytes, uncompressed."""
        return self.content if isinstance(self.content, bytes) else read_module(self.content)


def load(
    names: Iterable[str], index: Index, modules: Path, known: Mapping[str, Known] = MappingProxyType({})
) -> list[Module]:
    """Read modules, uncompressed, with the names of the firmware that they may ask for.

    known: facts of some (facts_of), which are not read again. Raises InputError for the first that is not there, or is
    damaged.
    """
    loaded = []
    for name in names:
        path = index.paths.get(name)
        if path is None:
            raise KernelError(
                f"modules.dep names {name} as a dependency, but has no line for it", hint="depmod"
            )
        file, facts = known.get(name) or (locate(path, modules), None)
        ending = file.name.rpartition(".ko")[2]
        content: bytes | Path = file
        if facts is None:
            data = read_module(file)
            if file.suffix != ".ko" or file.stat().st_size != len(data):
                content = data
            try:
                facts = _read_facts(name, data)
            except elf.ElfError as e:
                raise InputError(f"the module {file} is damaged: {e}") from e
        size, firmware, vermagic, asked = facts
        loaded.append(
            Module(
                name,
                place_in_tree(path),
                content,
                size,
                firmware,
                ending,
                vermagic=vermagic,
                asks=Asks(*asked),
            )
        )
    return loaded


def facts_of(names: Iterable[str], index: Index, modules: Path) -> dict[str, Known]:
    """Give facts of modules whose files are plain ones, together read once: those of Debian's q35 take 0.3 s.

    A file that is damaged, or is not there, has none.
    """
    files: list[tuple[str, Path, str]] = []
    for name in names:
        if (path := index.paths.get(name)) is not None and path.endswith(".ko"):
            with suppress(OSError):
                file = locate(path, modules)
                files.append((name, file, sealed.digest_of(file)))

    def read() -> dict[str, Facts]:
        found: dict[str, Facts] = {}
        for name, file, _ in files:
            with suppress(HostbuildError, OSError):
                data = read_module(file)
                if file.stat().st_size == len(data):  # not a compressed one by a plain one's name
                    found[name] = _read_facts(name, data)
        return found

    code = answers.code_of(__file__, *(reader.__file__ for reader in _READERS))
    facts = answers.values(code, [[name, digest] for name, _, digest in files], read)
    return {name: (file, facts[name]) for name, file, _ in files if name in facts}


def _read_facts(name: str, data: bytes) -> Facts:
    asked = asks_of_module(name, data)
    told = (asked.words, asked.families, asked.options)
    return len(data), _firmware(data), magic_of(data), told


def _firmware(data: bytes) -> tuple[str, ...]:
    """Return the firmware names of a module's .modinfo, sorted. Raises ElfError."""
    if not data.startswith(elf.MAGIC):
        raise elf.ElfError("it is not an ELF file")
    if b"firmware=" not in data:  # most have none, and finding the section takes milliseconds
        return ()
    return tuple(sorted(set(elf.modinfo(io.BytesIO(data)).get("firmware", ()))))
