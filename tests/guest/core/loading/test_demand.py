"""core/loading/demand.py: what the matches of one lookup ask of the scheduler."""

import pytest

from modaliasd.core.kmod.plan import Denial, Denied, Match, Plan, Stage, Step
from modaliasd.core.loading.demand import demands_of_plan
from modaliasd.core.loading.outcome import Outcome


def plan(lookup: str, *modules: str, denied: tuple[str, ...] = ()) -> Plan:
    """A lookup that found these modules, of which some are denied."""
    return Plan(
        lookup,
        Stage.ALIAS,
        tuple(Match(name, "alias", "modules.alias", 1) for name in modules),
        tuple(Step(name, f"{name}.ko") for name in modules if name not in denied),
        denied=tuple(Denial(name, Denied.BLACKLIST, "x.conf", 3) for name in denied),
    )


@pytest.mark.parametrize(
    ("lookup", "behind"),
    [
        ("usb:v0525pA4A2", ["", "cdc_ether", "cdc_subset"]),
        ("cpu:type:x86,ven0000", ["", "", ""]),
    ],
    ids=["a device's drivers", "a CPU's features"],
)
def test_rivals_stand_behind_one_another(lookup: str, behind: list[str]) -> None:
    """Drivers of one device go in the lookup's order; what a CPU's features ask for goes as it comes."""
    demands = demands_of_plan(plan(lookup, "cdc_ether", "cdc_subset", "usbnet"))
    assert [demand.behind for demand in demands] == behind


def test_nobody_stands_behind_what_is_denied() -> None:
    """A denied module has its verdict at once, and the next one goes first."""
    first, second = demands_of_plan(plan("pci:v1", "bad", "good", denied=("bad",)))
    assert first.verdict is not None
    assert first.verdict.outcome is Outcome.DENIED
    assert second.behind == ""
