"""hostbuild.kbuild.makefiles and drivers: from a driver's name to the options that build it."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostbuild.errors import InputError
from hostbuild.kbuild.drivers import Driver, resolve
from hostbuild.kbuild.makefiles import Rule, index_modules, parse_makefile
from hostbuild.kbuild.modaliases import parse_modaliases, read_modaliases

# Excerpts of Linux 6.1: drivers/net/ethernet/intel/{Makefile,e1000/Makefile}, drivers/virtio/Makefile,
# net/l2tp/Makefile, net/wireless/Makefile and drivers/usb/storage/Makefile.
_INTEL = """\
# SPDX-License-Identifier: GPL-2.0
obj-$(CONFIG_E100) += e100.o
obj-$(CONFIG_E1000) += e1000/
obj-$(CONFIG_E1000E) += e1000e/
"""
_E1000 = """\
obj-$(CONFIG_E1000) += e1000.o

e1000-objs := e1000_main.o e1000_hw.o \\
  e1000_ethtool.o e1000_param.o
"""
_VIRTIO = """\
obj-$(CONFIG_VIRTIO) += virtio.o virtio_ring.o
virtio_pci-$(CONFIG_VIRTIO_PCI_LEGACY) += virtio_pci_legacy.o
"""
_L2TP = "obj-$(subst y,$(CONFIG_L2TP),$(CONFIG_PPPOL2TP)) += l2tp_ppp.o\n"
_STORAGE = "obj-$(CONFIG_USB_STORAGE)\t+= usb-storage.o # the \\\n"

_TREE = (
    ("drivers/net/ethernet/intel", _INTEL),
    ("drivers/net/ethernet/intel/e1000", _E1000),
    ("drivers/virtio", _VIRTIO),
    ("net/l2tp", _L2TP),
    ("drivers/usb/storage", _STORAGE),
    ("drivers/twice/a", "obj-$(CONFIG_TWICE_A) += twice.o\n"),
    ("drivers/twice/b", "obj-$(CONFIG_TWICE_B) += twice.o\n"),
    ("drivers", "obj-$(CONFIG_OUTER) += below/\nobj-y += twice/\n"),
    ("drivers/below", "obj-y += inner.o\nobj-m := always.o\n"),
)
_INDEX = index_modules(_TREE)


def test_rules_of_a_makefile() -> None:
    """Objects and directories are found with their option; what an object is linked from is not a module."""
    assert parse_makefile(_INTEL) == (
        Rule("E100", "e100.o"),
        Rule("E1000", "e1000/"),
        Rule("E1000E", "e1000e/"),
    )
    assert parse_makefile(_E1000) == (Rule("E1000", "e1000.o"),)


def test_several_objects_on_one_line() -> None:
    """One option may build several modules."""
    assert parse_makefile(_VIRTIO) == (Rule("VIRTIO", "virtio.o"), Rule("VIRTIO", "virtio_ring.o"))


@pytest.mark.parametrize(
    ("module", "options"),
    [
        ("e1000", ("E1000",)),
        ("usb_storage", ("USB_STORAGE",)),
        ("l2tp_ppp", ("PPPOL2TP",)),
        ("twice", ("TWICE_A", "TWICE_B")),
        ("inner", ("OUTER",)),
        ("always", ("OUTER",)),
    ],
)
def test_who_builds_a_module(module: str, options: tuple[str, ...]) -> None:
    """The last option of a $(subst) is the feature; obj-y belongs to the directory's option."""
    assert _INDEX[module] == options


@given(st.text())
def test_any_makefile_parses(text: str) -> None:
    """Whatever a Makefile holds, rules come out whole: a target is an object or a directory."""
    assert all(rule.target.endswith((".o", "/")) for rule in parse_makefile(text))


def _no_aliases(modalias: str) -> Sequence[str]:
    return ()


@pytest.mark.parametrize(
    ("word", "drivers"),
    [
        ("e1000", [("e1000", ("E1000",))]),
        ("usb-storage", [("usb_storage", ("USB_STORAGE",))]),
        ("usb_storage", [("usb_storage", ("USB_STORAGE",))]),
        ("E1000", [("", ("E1000",))]),
        ("CONFIG_E1000", [("", ("E1000",))]),
    ],
)
def test_words_for_drivers(word: str, drivers: list[tuple[str, tuple[str, ...]]]) -> None:
    """A module's name with either dash, or the option itself."""
    found = resolve(word, _INDEX, lambda option: option == "E1000", _no_aliases)
    assert found == tuple(Driver(word, module, options) for module, options in drivers)


def test_an_unknown_driver_is_refused_with_its_neighbours() -> None:
    """A mistyped name is met with the nearest that exist."""
    with pytest.raises(InputError, match=r"no Makefile .* a module named e10000; .* e1000"):
        resolve("e10000", _INDEX, lambda _: False, _no_aliases)


def test_a_modalias_becomes_all_the_drivers_that_match() -> None:
    """Every module that the alias table names and this source builds is wanted."""
    found = resolve("pci:v1", _INDEX, lambda _: False, lambda _: ["e1000", "not-in-this-source", "twice"])
    assert [driver.module for driver in found] == ["e1000", "twice"]


def test_a_modalias_without_driver_is_refused() -> None:
    """A modalias that was named and that nothing answers to is an error."""
    with pytest.raises(InputError, match="pci:v1"):
        resolve("pci:v1", _INDEX, lambda _: False, _no_aliases)


@pytest.mark.parametrize(
    "text",
    [
        "pci:v1\n# comment\nusb:v2\npci:v1\n",
        '{"modalias": "pci:v1", "devpath": "/x"}\n{"devpath": "/y"}\n{"modalias": "usb:v2"}\n',
        '{"devices": [{"modalias": "pci:v1"}, {"env": {"MODALIAS": "usb:v2"}}, {"modalias": ""}]}',
    ],
    ids=["lines", "json-lines", "json"],
)
def test_modaliases_of_a_capture(text: str) -> None:
    """A capture's modaliases are found wherever they stand, each once."""
    assert parse_modaliases(text) == ("pci:v1", "usb:v2")


@given(st.text())
def test_any_text_is_searched_for_modaliases(text: str) -> None:
    """Whatever a file holds, what is found in it is no empty string and stands there once."""
    found = parse_modaliases(text)
    assert all(found)
    assert len(set(found)) == len(found)


def test_a_file_without_modaliases_is_refused(tmp_path: Path) -> None:
    """A capture that names no device is a mistake, and not a configuration without drivers."""
    (tmp_path / "x.json").write_text('{"type": "capture", "devices": []}')
    with pytest.raises(InputError, match=r"x\.json holds no modalias"):
        read_modaliases(tmp_path / "x.json")
