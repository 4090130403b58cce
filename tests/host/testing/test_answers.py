"""hostbuild.testing.answers: what a ledger and a kernel's log say to a test."""

import pytest

from hostbuild.testing.answers import below, complaint_in, not_bound, why
from modaliasd.core.ledger.history import history_of

CARD = "/devices/pci0000:00/0000:00:02.0"
ALIAS = "pci:v00008086d0000100Esv*sd*bc*sc*i*"
MODALIAS = "pci:v00008086d0000100Esv00001AF4sd00001100bc02sc00i00"
ADDED = {
    "type": "device",
    "t_us": 1,
    "action": "add",
    "devpath": CARD,
    "subsystem": "pci",
    "modalias": MODALIAS,
    "matches": [{"module": "e1000", "alias": ALIAS, "line": 7}],
}
CHILD = {
    "type": "device",
    "t_us": 3,
    "action": "add",
    "devpath": f"{CARD}/net/eth0",
    "subsystem": "net",
    "ifname": "eth0",
}
FAILED = {
    "type": "load",
    "t_us": 2,
    "module": "e1000",
    "outcome": "failed",
    "message": "Exec format error",
    "causes": [{"devpath": CARD, "modalias": MODALIAS, "alias": ALIAS, "line": 7}],
}


@pytest.mark.parametrize(
    "line",
    [
        "BUG: kernel NULL pointer dereference, address: 0000000000000008",
        "Oops: 0002 [#1] PREEMPT SMP NOPTI",
        "WARNING: CPU: 0 PID: 112 at kernel/irq/manage.c:1939 free_irq+0x1b2/0x310",
        "WARNING: possible circular locking dependency detected",
        "general protection fault, probably for non-canonical address 0xdead000000000122",
        "INFO: task kworker/0:1:9 blocked for more than 120 seconds.",
        "BUG: KASAN: use-after-free in edu_read+0x4c/0x90",
        "INFO: rcu_preempt detected stalls on CPUs/tasks: rcu_preempt stall",
        "refcount_t: underflow; use-after-free.",
    ],
)
def test_a_hurt_kernel(line: str) -> None:
    """Each of the kernel's complaints is found, wherever it stands, and what follows it is shown."""
    log = f"[    1.0] eth0: link up\n[    2.0] {line}\n[    2.1] Call Trace:\n"
    assert complaint_in(log) == [f"[    2.0] {line}", "[    2.1] Call Trace:"]


@pytest.mark.parametrize(
    "line",
    [
        "random: crng init done",
        "edu: loading out-of-tree module taints kernel.",
        "sd 6:0:0:0: [sda] Synchronize Cache(10) failed: Result: hostbyte=DID_NO_CONNECT driverbyte=DRIVER_OK",
        "ACPI: bus type PCI registered",
        "DEBUG: nothing is wrong",
    ],
)
def test_a_kernel_that_is_well(line: str) -> None:
    """What drivers say of devices that are pulled out is no complaint."""
    assert complaint_in(f"[    1.0] {line}\n") == []


def test_what_is_not_bound_is_explained() -> None:
    """The device's alias, and what became of its module, are in the answer; a device that is not there is said."""
    history = history_of([ADDED, FAILED])
    said = not_bound(history, below(history, [CARD]), "e1000 (hot1)", "e1000")
    assert "e1000 (hot1) was to be bound to e1000; drivers of it and below it: none" in said
    assert ALIAS in said
    assert "Exec format error" in said
    assert "the ledger has no such device" in not_bound(history, [], "0000:00:02.1", "x")
    assert "did you mean 0000:00:02.0?" in not_bound(history, [], "0000:00:02.1", "x")


def test_below_is_the_device_and_its_children() -> None:
    """What begins alike is not below, and what has gone is not there."""
    other = {**ADDED, "devpath": f"{CARD}1"}
    history = history_of([ADDED, CHILD, other])
    assert [device.devpath for device in below(history, [CARD])] == [CARD, f"{CARD}/net/eth0"]
    gone = history_of([ADDED, CHILD, {**CHILD, "action": "remove", "t_us": 4}])
    assert [device.devpath for device in below(gone, [CARD])] == [CARD]


def test_why_is_of_modules_that_are_there() -> None:
    """A module that was asked for and failed is none, and neither is one that nobody knows."""
    history = history_of([ADDED, FAILED])
    assert why(history, "e1000") is None
    assert why(history, "nonesuch") is None
    loaded = history_of([ADDED, {**FAILED, "outcome": "inserted"}])
    found = why(loaded, "e1000")
    assert found is not None
    assert [asker.device.devpath for asker in found.askers] == [CARD]
