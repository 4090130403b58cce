"""What the demo complains of: the ledger's history held against what a shell saw in /sys."""

from hostbuild.demo import find_complaints
from modaliasd.core.ledger.history import history_of
from tests.support.ledgers import Maker, asked_by

NIC = "/devices/pci0000:00/0000:00:03.0"


def boot(*, driver: str = "nic", builtin: bool = False, lost: int = 0) -> Maker:
    """A card on the PCI bus with a match, bound to `driver` unless that is empty; settled."""
    maker = Maker()
    maker.device(NIC, subsystem="pci", modalias="pci:v1d1", matches=[("pci:v1d*", "nic")])
    if builtin:
        maker.records[-1]["matches"][0]["builtin"] = True
    maker.load("nic", asked_by(NIC, "pci:v1d1", "pci:v1d*"))
    if driver:
        maker.device(NIC, "bind", subsystem="pci", modalias="pci:v1d1", driver=driver, module="nic")
    maker.settled(lost=lost)
    return maker


def test_a_good_boot_has_no_complaints() -> None:
    """A bound device that /sys knows as bound is as it should be."""
    assert find_complaints(history_of(boot().records), "pci 0000:00:1f.3 pci:v8d8\n") == []


def test_a_device_without_its_driver_is_named() -> None:
    """A device that matched a module and has no driver is named with its bus and the module."""
    (complaint,) = find_complaints(history_of(boot(driver="").records), "")
    assert complaint == "0000:00:03.0 (pci) matched nic; the ledger has no driver for it"


def test_the_witness_is_believed_before_the_ledger() -> None:
    """A driver that the ledger tells of and /sys does not have is a complaint."""
    (complaint,) = find_complaints(history_of(boot().records), "pci 0000:00:03.0 pci:v1d1\n")
    assert complaint == "0000:00:03.0 (pci): nic says the ledger, no driver says /sys"


def test_builtin_matches_and_other_buses_ask_for_nothing() -> None:
    """A device whose match is built in, one that is gone, and one on a bus of hints need no driver."""
    assert find_complaints(history_of(boot(driver="", builtin=True).records), "") == []
    gone = boot(driver="")
    gone.device(NIC, "remove", subsystem="pci")
    assert find_complaints(history_of(gone.records), "") == []
    hint = boot()
    hint.device("/devices/LNXSYSTM:00/X", subsystem="acpi", modalias="acpi:X:", matches=[("acpi:X:", "x")])
    assert find_complaints(history_of(hint.records), "") == []


def test_failed_loads_lost_events_and_a_missing_settle_are_complaints() -> None:
    """Each is one sentence."""
    failed = boot(lost=3)
    failed.load("bad", asked_by(NIC, "pci:v1d1", "pci:v1d*"), outcome="failed", message="Exec format error")
    assert find_complaints(history_of(failed.records), "") == [
        "bad was not loaded: Exec format error",
        "3 uevents were lost",
    ]
    never = boot()
    del never.records[-1]
    assert find_complaints(history_of(never.records), "") == ["the daemon never settled"]
