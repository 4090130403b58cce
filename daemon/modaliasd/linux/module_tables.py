"""The module tree's tables, opened for lookups, and what they say of the modules' signatures."""

from __future__ import annotations

from modaliasd.core.errors import Problem
from modaliasd.core.kmod.modules_dep import Dependencies, parse_builtin, parse_softdeps
from modaliasd.core.kmod.resolve import Resolver
from modaliasd.core.loading.signature import HASH_NAME, HASHES, STRIPPED, TAIL_SIZE, hash_of_signature
from modaliasd.linux.config import read_text
from modaliasd.linux.procmodules import read_tail, read_unpacked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from modaliasd.core.index.lookup import Hit
    from modaliasd.core.kmod.modprobe_d import Configuration
    from modaliasd.core.kmod.modules_dep import Softdep
    from modaliasd.linux.indexfile import AliasIndex


def open_resolver(configuration: Configuration, index: AliasIndex, modules_dir: str) -> Resolver:
    """Return all stages of a lookup. With an index that was opened anew come new tables of depmod's."""
    generation = index.generation

    def tables() -> tuple[Dependencies, tuple[Softdep, ...]]:
        unread: list[Problem] = []
        builtin, bad = parse_builtin(_read(modules_dir, "modules.builtin", unread))
        softdeps, more_bad = parse_softdeps(_read(modules_dir, "modules.softdep", unread))
        text = _read(modules_dir, "modules.dep", unread)
        # its lines are parsed when they are asked for; that it has been cut off is seen at once
        if text and not text.endswith("\n"):
            unread.append(
                Problem("modules.dep", text.count("\n") + 1, "it is cut off here; create it with depmod")
            )
        return Dependencies(text, builtin, (*unread, *bad, *more_bad)), softdeps

    def lookup(modalias: str) -> list[Hit]:
        nonlocal generation
        found = index.lookup(modalias)
        if index.generation != generation:
            generation = index.generation
            resolver.renew(*tables())
        return found

    dependencies, softdeps = tables()
    resolver = Resolver(configuration, dependencies, lookup, softdeps)
    return resolver


def find_hash_drivers(index: AliasIndex, dependencies: Dependencies, modules_dir: str) -> list[str]:
    """Return the modules that bring the hash by which modules are signed: one that is wanted speeds up later loads.

    An image says which hash that is. In other trees the drivers themselves are looked at.
    """
    told = _read(modules_dir, HASH_NAME, []).strip()
    if told == STRIPPED:
        return []
    for hash_name in (told,) if told in HASHES else HASHES:
        drivers = []
        for module, *_ in index.lookup(f"crypto-{hash_name}"):
            file = dependencies.find(module)
            if file and (told == hash_name or _signed_by(modules_dir, file.path) == hash_name):
                drivers.append(module)
        if drivers:
            return drivers
    return []


def _signed_by(modules_dir: str, path: str) -> str:
    """Return the hash that a module's file is signed with; "" where nobody can tell."""
    if path.endswith(".ko"):
        return hash_of_signature(read_tail(modules_dir, path, TAIL_SIZE))
    return hash_of_signature(read_unpacked(modules_dir, path)[-TAIL_SIZE:])


def _read(modules_dir: str, name: str, unread: list[Problem]) -> str:
    """Read a table; "" where there is none, or where it cannot be read, which is a problem to be told of."""
    try:
        return read_text(f"{modules_dir}/{name}")
    except FileNotFoundError:
        return ""
    except OSError as error:
        unread.append(Problem(name, 0, f"cannot be read: {error.strerror}"))
        return ""
