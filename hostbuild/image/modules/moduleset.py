"""The modules of an image, from a selection, what a machine has used, and what overlays bring.

Overlays come before the indexes: their modules get lines there, and their modprobe.d counts for what goes along.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from hostbuild.image.filetree import FileTree
from hostbuild.image.modules import check as finished
from hostbuild.image.modules import selection
from hostbuild.image.modules.carried import carry, reader
from hostbuild.image.modules.configured import ModprobeD, alias_targets, configured, read_modprobe_d
from hostbuild.image.modules.listed import named_modules
from hostbuild.image.modules.module import Module
from hostbuild.image.modules.overlaid import Overlaid, read_overlaid, sources, with_overlaid
from hostbuild.image.modules.requested import Requested, Rule, add_requested
from hostbuild.image.modules.selection import Index
from hostbuild.kernels.kernel import Kernel
from modaliasd.core.index import lookup
from modaliasd.core.index.format import INDEX_NAME

_SHOWN = 5  # files left out of the tree that an error names


@dataclass(frozen=True, slots=True)
class Brought:
    """What overlays bring to the modules. tree: all of them, laid over nothing else."""

    tree: FileTree
    overlaid: Overlaid
    modprobe_d: ModprobeD


def read_overlays(tree: FileTree, version: str) -> Brought:
    """Look through the overlays, laid over nothing else, for what concerns modules."""
    return Brought(tree, read_overlaid(tree, version), read_modprobe_d(tree))


@dataclass(frozen=True, slots=True)
class Wanted:
    """Names modules, for a kernel and modprobe.d; and says what there is to be said about them.

    digest: of what the names are taken from.
    """

    digest: str
    names: Callable[[Kernel, Mapping[str, str]], tuple[Iterable[str], Iterable[str]]] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The modules of an image. names: those that were chosen; carried: all; requested: which others these ask for.

    warnings: what is to be said about them.
    """

    names: set[str]
    carried: list[Module]
    requested: Requested
    warnings: list[str]


def choose(
    words: str, wanted: Wanted | None, kernel: Kernel, brought: Brought, rule: Rule = Rule.NAMED
) -> Chosen:
    """Choose the modules of an image.

    words: as selection.py reads them; "" with `wanted`, which names modules for this kernel and this modprobe.d, for
    nothing besides. rule: which of the modules come along that the chosen ones ask for.
    """
    nothing = words.strip() == "none" and wanted is None
    plain = selection.NO_MODULES if nothing else selection.read_index(kernel)
    overlaid = sources(brought.overlaid.modules)
    index = configured(with_overlaid(plain, brought.overlaid.modules), brought.modprobe_d)
    chosen: set[str] = set()
    told: Iterable[str] = ()
    if wanted is not None:
        named, told = wanted.names(kernel, brought.modprobe_d.files)
        chosen.update(named)
    if not nothing and (words or wanted is None):
        chosen.update(_select(words, index, kernel))
    if not chosen and not nothing:
        raise selection.SelectionError(
            f"the selection {words!r} leaves no module of kernel {kernel.version}",
            hint="--modules none builds without modules",
        )
    if chosen:
        chosen |= named_modules(brought.tree, index)
    if nothing and overlaid and kernel.indexes is not None:
        # what an overlay's module needs it gets all the same
        index = configured(
            with_overlaid(selection.read_index(kernel), brought.overlaid.modules), brought.modprobe_d
        )
    names = selection.close(
        {*chosen, *overlaid, *(alias_targets(brought.modprobe_d, index) if chosen else ())}, index
    )
    read = reader(index, kernel, overlaid, names)
    asked = add_requested(names, rule if names else Rule.NONE, index, read, kernel)
    found = carry(
        sorted({*names, *asked.added}), selection.named_in(words, index), index, kernel, overlaid, read
    )
    warnings = [f"{kernel.indexes}/{one.file}:{one.line}: {one.message}" for one in plain.problems]
    left_out = [] if nothing else kernel.left_out
    warnings += [*told, *left_out, *asked.warnings, *brought.overlaid.warnings, *found.warnings]
    return Chosen(chosen, list(found.modules), asked, warnings)


def _select(words: str, index: Index, kernel: Kernel) -> list[str]:
    """Select modules; where one is not known, say which files of the tree were left out."""
    try:
        return selection.select(words, index)
    except selection.SelectionError as e:
        if not kernel.left_out:
            raise
        raise selection.SelectionError("\n  ".join((str(e), *kernel.left_out[:_SHOWN])), hint=e.hint) from e


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
    return finished.check_configuration(modprobe_d, indexes, lookup.Index(indexes[INDEX_NAME]))
