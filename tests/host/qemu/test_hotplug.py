"""qemu/hotplug.py: what a property's value is turned into for QEMU's monitor."""

import pytest

from hostbuild.qemu.hotplug import as_type


@pytest.mark.parametrize(
    ("qemus", "value", "wanted"),
    [
        ("bool", "on", True),
        ("bool", "off", False),
        ("bool", "true", True),
        ("bool", True, True),
        ("uint32", "7", 7),
        ("uint16", "0x8086", 0x8086),
        ("int32", "-1", -1),
        ("uint64", 5, 5),
        ("size", "512", 512),
        ("size", "2M", 2 << 20),
        ("size", "1g", 1 << 30),
        ("str", 1, "1"),
        ("str", "on", "on"),
        ("OnOffAuto", "on", "on"),
        ("OnOffAuto", True, "on"),
        ("PCIELinkSpeed", "16", "16"),
    ],
)
def test_a_value_has_its_type(qemus: str, value: str | int | bool, wanted: object) -> None:
    """QEMU 10's monitor takes a number only as a number, on and off as booleans, and a serial number as text."""
    found = as_type(qemus, "x", value)
    assert (found, type(found)) == (wanted, type(wanted))


@pytest.mark.parametrize(
    ("qemus", "value"), [("bool", "maybe"), ("uint32", "seven"), ("uint32", "1K"), ("", "on")]
)
def test_what_does_not_fit_is_qemus_to_refuse(qemus: str, value: str) -> None:
    """What is not of the type, or of no type that is known, goes to QEMU as it was written."""
    assert as_type(qemus, "x", value) == value


def test_a_pci_address_stays_text() -> None:
    """06 is slot 6; as a number it would be slot 0, function 6 (hw/core/qdev-properties-system.c)."""
    assert as_type("int32", "addr", "06") == "06"
