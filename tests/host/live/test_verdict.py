"""live/verdict.py: each way in which a module is bound, or not, has its words and what fixes it."""

from dataclasses import replace

import pytest

from hostbuild.live.verdict import (
    Found,
    Match,
    judge_found,
    log_about,
    matches_of,
    near_devices,
    no_dependency,
    wrong_kernel,
)

ALIASES = ("pci:v00001234d000011E8sv*sd*bc*sc*i*",)
DEVICE = Match("0000:00:07.0", "pci:v00001234d000011E8sv1", ALIASES[0], "edu")
BOUND = Found("edu", True, {"pci:edu": ("0000:00:07.0",)}, (DEVICE,))
REFUSED = replace(BOUND, loaded=False, drivers={}, matches=(replace(DEVICE, driver=""),))


def test_bound() -> None:
    """The device, the driver, the module, the alias."""
    verdict = judge_found(BOUND, ALIASES)
    assert (verdict.bound, verdict.fix) == (True, "")
    assert verdict.lines == (f"bound: 0000:00:07.0 is driven by pci:edu of edu, by its alias {ALIASES[0]}",)


def test_bound_without_an_alias() -> None:
    """A driver that makes its own device, or lacks MODULE_DEVICE_TABLE, works, and nothing loads it by itself."""
    verdict = judge_found(replace(BOUND, matches=(), by_name=True), ())
    assert verdict.bound
    assert "which no alias of it names" in verdict.lines[0]
    assert "MODULE_DEVICE_TABLE" in verdict.lines[1]


@pytest.mark.parametrize(
    ("found", "words", "fix"),
    [
        (
            replace(REFUSED, log=("[ 1.0] edu: version magic '6.1.0 SMP ' should be '6.1.1 SMP '",)),
            "built for another kernel; its version magic is '6.1.0 SMP ', the kernel's is '6.1.1 SMP '",
            "make -C TREE M=DIR",
        ),
        (
            replace(
                REFUSED,
                log=("[ 1.0] edu: Unknown symbol aa (err -2)", "[ 1.1] edu: Unknown symbol bb (err -2)"),
            ),
            "the kernel has no symbol aa and bb",
            "--also FILE.ko",
        ),
        (
            replace(REFUSED, log=("[ 1.0] edu: disagrees about version of symbol module_layout",)),
            "another version of module_layout",
            "Module.symvers",
        ),
        (
            replace(REFUSED, message="can't load module edu: Key was rejected by service"),
            "Key was rejected by service",
            "sign the module",
        ),
        (replace(REFUSED, message="no", failure="lockdown"), "cannot be loaded: no", "lockdown="),
        (replace(REFUSED, message="Invalid argument"), "Invalid argument", "init function"),
        (replace(BOUND, drivers={}), "has registered no driver", "module_pci_driver"),
        (
            replace(
                BOUND,
                drivers={"pci:edu": ()},
                matches=(),
                near=(("0000:00:08.0", "pci:v00001234d000011E9sv1"),),
            ),
            "no device here is one for its driver pci:edu",
            "--device",
        ),
        (
            replace(BOUND, drivers={"pci:edu": ()}, matches=(replace(DEVICE, driver="other"),)),
            "drives none of the devices",
            "leave other out",
        ),
        (
            replace(BOUND, drivers={"pci:edu": ()}, matches=(replace(DEVICE, driver=""),)),
            "drives none of the devices",
            "with which error the probe ended",
        ),
    ],
    ids=[
        "version magic",
        "symbols",
        "versions of symbols",
        "signature",
        "failure",
        "unknown",
        "no driver",
        "no device",
        "another driver",
        "probe",
    ],
)
def test_not_bound(found: Found, words: str, fix: str) -> None:
    """The first line says why, the fix what to do."""
    verdict = judge_found(found, ALIASES)
    assert not verdict.bound
    assert words in verdict.lines[0]
    assert fix in verdict.fix


def test_where_no_device_matches_both_sides_are_shown() -> None:
    """The aliases, and the devices of the bus that nothing drives: a wrong digit is seen at once."""
    near = (("0000:00:08.0", "pci:v00001234d000011E9sv1"),)
    lines = judge_found(replace(BOUND, drivers={"pci:edu": ()}, matches=(), near=near), ALIASES).lines
    assert lines[1:] == (f"  its alias: {ALIASES[0]}", f"  without a driver: {near[0][0]} {near[0][1]}")


def test_what_needs_no_boot_to_be_known() -> None:
    """Another kernel's version magic, and modules that nobody has."""
    assert "'6.1 SMP '" in wrong_kernel("edu", "6.1 SMP ", "6.2 SMP ").lines[0]
    assert "no version magic" in wrong_kernel("edu", "", "6.2 SMP ").lines[0]
    verdict = no_dependency("edu", ["my_bus"], "6.1.0")
    assert "it needs my_bus, which kernel 6.1.0 lacks" in verdict.lines[0]
    assert verdict.fix.startswith("--also my_bus.ko")


def test_a_ledger_tells_which_devices_match() -> None:
    """By the module's name in either spelling; the others of the same bus, without a driver, are near."""
    match = {"alias": "pci:v1*", "line": 3, "module": "my-edu"}
    records: list[dict[str, object]] = [
        {"type": "device", "devpath": "/devices/a", "modalias": "pci:v1d1", "matches": [match]},
        {"type": "device", "devpath": "/devices/b", "modalias": "pci:v2d1", "matches": []},
        {"type": "device", "devpath": "/devices/c", "modalias": "pci:v3d1", "matches": []},
        {"type": "device", "devpath": "/devices/d", "modalias": "acpi:X:", "matches": []},
        {"type": "device", "devpath": "/devices/e"},
        {"type": "load", "module": "my_edu"},
    ]
    matched, others = matches_of(records, "my_edu")
    assert matched == {"/devices/a": ("pci:v1d1", "pci:v1*")}
    assert near_devices(others, ["/devices/c"], ["pci:v1*"]) == [("b", "pci:v2d1")]


def test_the_log_around_it() -> None:
    """Lines that name it, its driver or its device, whole words only; reports of trouble in full; not our own lines."""
    log = [
        "[    0.5] pci 0000:00:07.0: [1234:11e8] type 00",
        "[    1.0] educated guess",
        "[    1.1] my-edu: loading out-of-tree module taints kernel.",
        "[    1.2] modaliasd: load my_edu",
        "[    1.3] edu 0000:00:07.0: probe with driver edu failed with error -22",
        "[    1.4] BUG: kernel NULL pointer dereference",
        "[    1.5]  ? do_init_module",
    ]
    shown = log_about(log, ["my_edu", "0000:00:07.0"])
    assert shown == [log[2], log[4], log[5], log[6]]
    assert log_about(log[:2], []) == []
