"""What travels between the machine that runs a matrix and those that boot its cells: values, picklable. Pure."""

from collections.abc import Callable
from dataclasses import dataclass, field

from hostbuild.arch import Arch
from hostbuild.qemu.machine import Machine

MOST_LEDGER = 32 << 20  # bytes of a cell's ledger that are kept
MOST_TEXT = 256 << 10  # bytes kept of a console's end, and of what a command wrote


@dataclass(frozen=True, slots=True)
class Parcel:
    """An image with its manifest and its kernel, known by their content.

    digest: of all three. path: where the image lies on the machine that made it. size: bytes of all three.
    """

    digest: str
    path: str
    size: int
    arch: Arch = Arch.AMD64


@dataclass(frozen=True, slots=True)
class Job:
    """A cell ready to be booted anywhere.

    key: the cell's (cells.key_of). run: the run that it is part of. memory: MiB that its guest and QEMU take.
    stdin: for the command. files: path -> content of the tests of pytest, with what lies beside them; pytest: those
    of them that are named.
    """

    key: str
    name: str
    run: str
    parcel: Parcel
    machine: Machine
    memory: int
    guest_memory: str | None = None
    append: str = ""
    accel: str = "auto"
    limit_s: float = 600.0
    command: tuple[str, ...] = ()
    stdin: bytes = b""
    pytest: tuple[str, ...] = ()
    files: tuple[tuple[str, bytes], ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class CellResult:
    """What became of a cell.

    status: as hostbuild's own: the command's or the guest's, 100 for what cannot be booted, 112 for a lost guest, 124
    at the time limit. cause: why, in words, where it is no plain status. ledger: as the guest wrote it. console: its
    last part. output: what the command, or pytest, wrote. notes: what else to tell.
    """

    status: int
    seconds: float
    cause: str = ""
    hint: str = ""
    ledger: bytes = field(default=b"", repr=False)
    console: str = field(default="", repr=False)
    output: str = field(default="", repr=False)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Lacking:
    """The worker does not have the parcel. place: its cache, which other workers may share."""

    place: str


@dataclass(frozen=True, slots=True)
class Unable:
    """The worker's machine cannot boot the cell: another may. whole: it can boot none of this architecture."""

    cause: str
    hint: str = ""
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Lost:
    """The cell has no result: whoever ran it went away again and again, or nobody can. It is run again next time."""

    cause: str
    hint: str = ""


Outcome = CellResult | Lacking | Unable
Runner = Callable[[Job], Outcome]
