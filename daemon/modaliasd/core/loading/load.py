"""The scheduler's values: what goes with a module, its way through the scheduler, one modprobe process."""

from __future__ import annotations

from modaliasd.core.fasttypes import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from modaliasd.core.loading.cause import Cause
    from modaliasd.core.loading.outcome import LoadResult

MOST_CAUSES = 256  # of one load, that are kept one by one


class Needs(NamedTuple):
    """What goes with a module: `before` in the order of insertion, of which `soft` may fail; `after` it."""

    before: tuple[str, ...] = ()
    soft: frozenset[str] = frozenset()
    after: tuple[str, ...] = ()
    alone: bool = False  # it cannot bear another load beside it
    single: bool = False  # it wants a process of its own (options, insmod, an install line)
    prefers: tuple[str, ...] = ()  # of `soft`, its own softdeps, without what these need


class Load:
    """A module's way through the scheduler. Times are microseconds, -1 while unknown."""

    __slots__ = (
        "bare",
        "behind",
        "causes",
        "cost",
        "end_us",
        "left_out",
        "module",
        "more_causes",
        "needs",
        "queued_us",
        "rank",
        "result",
        "running",
        "start_us",
        "told",
        "waiters",
        "waits_for",
        "waived",
    )

    def __init__(self, module: str, needs: Needs, rank: int, now_us: int) -> None:
        self.module = module
        self.needs = needs
        self.rank = rank
        self.cost = 0  # bytes of module files to insert, an estimate of how long it takes
        self.causes: list[Cause] = []
        self.more_causes = (
            0  # those beyond the first MOST_CAUSES, and those that came when its end had been told
        )
        self.told = False
        self.behind: set[str] = set()  # modules that are to have their end first, if they are wanted at all
        self.left_out: frozenset[str] = frozenset()  # of `needs.before`, what the gate keeps out
        self.bare = False  # modprobe would bring along what the gate keeps out: to be inserted without it
        self.queued_us = now_us
        self.start_us = -1
        self.end_us = -1
        self.running = False
        self.result: LoadResult | None = None
        self.waiters: list[str] = []
        self.waits_for = ""  # the module whose end it waits for now, "" while it waits for none
        self.waived: set[str] = (
            set()
        )  # softdeps and rivals that it waits for no more: that would close a ring

    def add_cause(self, cause: Cause) -> None:
        """Somebody wants it. The first causes are kept; once its end has been told, others are only counted."""
        if len(self.causes) < MOST_CAUSES and not self.told:
            self.causes.append(cause)
        else:
            self.more_causes += 1

    @property
    def before(self) -> tuple[str, ...]:
        """What goes in before it, this time."""
        if not self.left_out:
            return self.needs.before
        return tuple(name for name in self.needs.before if name not in self.left_out)

    @property
    def single(self) -> bool:
        """Does it want a process of its own, this time?"""
        return self.needs.single or self.bare


class Job(NamedTuple):
    """One modprobe process: `targets` are its arguments, `modules` all that it will insert, in order.

    bare: modprobe would insert others, too, so this one module is to go in without it.
    """

    targets: tuple[str, ...]
    modules: tuple[str, ...]
    rank: int
    cost: int
    bare: bool = False


class Admission(NamedTuple):
    """What a gate says of one load, just before its job (core/policy/admission.py).

    denial: why it must not be carried out; None if it may. left_out: what of `needs.before` stays out. refused: of
    that, what the policy itself denies. bare: whether modprobe would bring along what is denied.
    """

    denial: LoadResult | None
    left_out: frozenset[str]
    refused: dict[str, LoadResult]
    bare: bool
