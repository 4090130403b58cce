"""Whether a cell came to what was expected of it. Pure."""

from dataclasses import dataclass
from enum import Enum

from hostbuild.matrix.asked.cells import Expected
from hostbuild.matrix.asked.job import CellResult, Lost
from modaliasd.core.ledger.history import History


class Verdict(Enum):
    """What is said of a cell."""

    PASSED = "passed"
    FAILED = "failed"  # it has a result, which is not the expected one
    LOST = "lost"  # it has none, and is run again next time


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, and what is wrong, a sentence each."""

    verdict: Verdict
    complaints: tuple[str, ...] = ()


def judge(outcome: CellResult | Lost, expected: Expected, history: History | None) -> Judgement:
    """Compare what became of a cell with what was expected. history: of its ledger, None if it has none."""
    if isinstance(outcome, Lost):
        return Judgement(Verdict.LOST, (outcome.cause,))
    found = []
    if outcome.status != expected.status:
        wanted = f"status {outcome.status}, expected {expected.status}"
        found.append(f"{wanted}: {outcome.cause}" if outcome.cause else wanted)
    if (expected.modules or expected.bound) and history is None:
        found.append("it has no ledger, so nobody knows of modules and devices")
    elif history is not None:
        found += [
            f"the module {name} is not loaded" for name in expected.modules if not _is_loaded(history, name)
        ]
        found += [trouble for wish in expected.bound if (trouble := _unbound(history, wish))]
    return Judgement(Verdict.FAILED if found else Verdict.PASSED, tuple(found))


def _is_loaded(history: History, name: str) -> bool:
    load, seen = history.load_of(name), history.appearance_of(name)
    return (load is not None and load.succeeded) or (seen is not None and seen.came)


def _unbound(history: History, wish: str) -> str:
    """Say why DRIVER, or DEVICE=DRIVER, does not hold; "" where it does. DEVICE is the end of its path."""
    device, _, driver = wish.rpartition("=")
    there = [one for one in history.devices.values() if one.present]
    if not device:
        drivers = {one.driver for one in there}
        return "" if driver in drivers else f"no device is bound to the driver {driver}"
    named = [one for one in there if one.devpath == device or one.devpath.endswith(f"/{device.lstrip('/')}")]
    if not named:
        return f"there is no device {device}"
    if any(one.driver == driver for one in named):
        return ""
    return f"the device {device} is bound to {named[0].driver or 'no driver'}, expected {driver}"
