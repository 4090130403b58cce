"""A load in one short line, for the kernel's log."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from modaliasd.core.loading.scheduler import Load


def load_text(load: Load) -> str:
    """What became of a load that has its verdict, how long it took, for whom."""
    assert load.verdict is not None
    outcome = load.verdict.outcome
    took = f" in {(load.end_us - load.start_us) / 1000:.1f} ms" if load.start_us >= 0 else ""
    why = f": {load.verdict.message}" if load.verdict.message else ""
    return f"{load.module} {outcome.value}{took}, {because(load)}{why}"


def because(load: Load) -> str:
    """The first cause in words, for the kernel's log."""
    cause = load.causes[0]
    if cause.devpath:
        return f"for {cause.devpath} ({cause.subsystem}) {cause.modalias[:120]} by {cause.alias[:120]}"
    if cause.module:
        return f"{cause.module} depends on it"
    if cause.softdep:
        return f"{cause.softdep} has it as a softdep"
    return f"asked for by {cause.request}"
