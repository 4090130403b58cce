"""The cells of a matrix: the product of its axes without what is excluded, and what each should come to. Pure."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from hostbuild.arch import Arch
from hostbuild.errors import InputError
from hostbuild.matrix.asked.axes import GuestTest, MatrixImage, MatrixKernel, Spec, machine_name

MOST_CELLS = 100_000


@dataclass(frozen=True, slots=True)
class Cell:
    """One guest to be booted. arch: None where only the kernel tells."""

    kernel: MatrixKernel
    machine: str
    image: MatrixImage
    test: GuestTest
    arch: Arch | None = None

    @property
    def names(self) -> tuple[str, str, str, str, str]:
        """Its coordinates in the order of AXES; the architecture is "" where it is not known."""
        return (
            self.kernel.name,
            self.arch.value if self.arch is not None else "",
            machine_name(self.machine),
            self.image.name,
            self.test.name,
        )

    @property
    def name(self) -> str:
        """What people know it by; the same in every run of a matrix."""
        return cell_name(self.names)


@dataclass(frozen=True, slots=True)
class Expected:
    """What a cell is to come to: its exit status, modules that are loaded, DRIVER or DEVICE=DRIVER that are bound."""

    status: int = 0
    modules: tuple[str, ...] = ()
    bound: tuple[str, ...] = ()


def cell_name(names: Sequence[str]) -> str:
    """Return a cell's name, from its coordinates in the order of AXES."""
    kernel, _, *others = names
    return " | ".join([kernel, *others])


def cells_of(spec: Spec) -> tuple[Cell, ...]:
    """Return the cells, kernel by kernel, those left out that need no kernel to be looked at.

    Raises InputError for a matrix without a cell, or of more than MOST_CELLS.
    """
    size = len(spec.kernels) * len(spec.machines) * len(spec.images) * len(spec.tests)
    if size > MOST_CELLS:
        raise InputError(f"{spec.path}: {size} cells; at most {MOST_CELLS} are run at a time")
    found = tuple(
        Cell(kernel, machine, image, test, kernel.arch)
        for kernel, image, machine, test in product(spec.kernels, spec.images, spec.machines, spec.tests)
    )
    kept = tuple(cell for cell in found if not is_excluded(spec, cell))
    if not kept:
        raise InputError(f"{spec.path}: no cell is left: [[exclude]] takes all {len(found)} of them")
    return kept


def is_excluded(spec: Spec, cell: Cell) -> bool:
    """Tell whether a row of [[exclude]] takes a cell out; one of an architecture that is not known yet stays."""
    return any(
        where.fits(cell.names) for where in spec.excludes if cell.arch is not None or not where.architecture
    )


def expected_of(spec: Spec, cell: Cell) -> Expected:
    """Return what a cell is to come to: of its status the last row counts that names one, else it is 0."""
    status, modules, bound = 0, dict[str, None](), dict[str, None]()
    for row in spec.expectations:
        if row.where.fits(cell.names):
            status = row.status if row.status is not None else status
            modules |= dict.fromkeys(row.modules)
            bound |= dict.fromkeys(row.bound)
    return Expected(status, tuple(modules), tuple(bound))


def key_of(inputs: Mapping[str, object]) -> str:
    """Return a cell's key: a digest of the content of all that decides about its result, by names."""
    text = json.dumps(inputs, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]
