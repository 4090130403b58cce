"""The modules of an image, from a selection, what a machine has used, and what overlays bring.

Overlays come before the indexes: their modules get lines there, and their modprobe.d counts for what goes along.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hostbuild.image import check as finished
from hostbuild.image import modules
from hostbuild.image.carried import carry
from hostbuild.image.configured import ModprobeD, alias_targets, configured, read_modprobe_d
from hostbuild.image.modules import Index, Module
from hostbuild.image.overlaid import Overlaid, read_overlaid, sources, with_overlaid
from hostbuild.image.tree import FileTree
from hostbuild.kernel import Kernel
from hostbuild.predict.file import read_capture
from hostbuild.predict.learn import learn
from hostbuild.predict.target import open_kernel
from modaliasd.core import trie
from modaliasd.core.trie_format import INDEX_NAME

_SHOWN = 5  # files left out of the tree that an error names
_NONE = Index({}, {}, {}, {}, frozenset())


@dataclass(frozen=True, slots=True)
class Brought:
    """What overlays bring to the modules. tree: all of them, laid over nothing else."""

    tree: FileTree
    overlaid: Overlaid
    modprobe_d: ModprobeD


def read_overlays(tree: FileTree, version: str) -> Brought:
    """Look through the overlays, laid over nothing else, for what concerns modules."""
    return Brought(tree, read_overlaid(tree, version), read_modprobe_d(tree))


def choose(
    selection: str, learned_from: Path | None, kernel: Kernel, brought: Brought
) -> tuple[set[str], list[Module], list[str]]:
    """Give the names that were chosen, all modules that come into the image, and what is to be said about them.

    selection: as modules.py reads it; "" with `learned_from`, a ledger or a capture, for nothing besides.
    """
    nothing = selection.strip() == "none" and learned_from is None
    plain = _NONE if nothing else modules.read_index(kernel)
    overlaid = sources(brought.overlaid.modules)
    index = configured(with_overlaid(plain, brought.overlaid.modules), brought.modprobe_d)
    chosen: set[str] = set()
    if learned_from is not None:
        target = open_kernel(kernel, brought.modprobe_d.files)
        chosen.update(learn(read_capture(learned_from), target).modules)
    if not nothing and (selection or learned_from is None):
        chosen.update(_select(selection, index, kernel))
    if not chosen and not nothing:
        raise modules.SelectionError(
            f"the selection {selection!r} leaves no module of kernel {kernel.version}",
            hint="--modules none builds without modules",
        )
    if nothing and overlaid and kernel.indexes is not None:
        # what an overlay's module needs it gets all the same
        index = configured(
            with_overlaid(modules.read_index(kernel), brought.overlaid.modules), brought.modprobe_d
        )
    names = modules.close(
        {*chosen, *overlaid, *(alias_targets(brought.modprobe_d, index) if chosen else ())}, index
    )
    found = carry(names, modules.named_in(selection, index), index, kernel, overlaid)
    warnings = [f"{kernel.indexes}/{one.file}:{one.line}: {one.message}" for one in plain.problems]
    left_out = [] if nothing else kernel.left_out
    return chosen, list(found.modules), [*warnings, *left_out, *brought.overlaid.warnings, *found.warnings]


def _select(selection: str, index: Index, kernel: Kernel) -> list[str]:
    """Select modules; where one is not known, say which files of the tree were left out."""
    try:
        return modules.select(selection, index)
    except modules.SelectionError as e:
        if not kernel.left_out:
            raise
        raise modules.SelectionError("\n  ".join((str(e), *kernel.left_out[:_SHOWN])), hint=e.hint) from e


def check(
    tree: FileTree,
    kernel: Kernel,
    carried: Sequence[Module],
    indexes: Mapping[str, bytes],
    *,
    packed: bool,
) -> list[str]:
    """Read the finished tree as the guest will; give warnings. packed: its modules lie in a squashfs.

    Raises WorldError for an image whose modules could not be found.
    """
    if not packed:
        finished.check_files(tree, kernel.version, indexes["modules.dep"], carried)
    modprobe_d = read_modprobe_d(tree)
    if not carried or modprobe_d.files == {}:
        return []
    return finished.check_configuration(modprobe_d, indexes, trie.Index(indexes[INDEX_NAME]))
