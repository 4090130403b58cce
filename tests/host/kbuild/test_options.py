"""hostbuild.kbuild.options: granting wishes in a small Kconfig tree, and naming what stops the others."""

from pathlib import Path

import pytest

from hostbuild.arch import Arch
from hostbuild.errors import InputError
from hostbuild.formats.kconfig import Wish, parse_config
from hostbuild.kbuild.options import KernelOptions, load_options

_KCONFIG = """
config MODULES
	bool "modules"
	modules

config PCI
	bool "PCI"

menuconfig NETDEVICES
	bool "Network devices"

if NETDEVICES
config VENDOR_INTEL
	bool "Intel"
	depends on PCI
config E1000
	tristate "e1000"
	depends on VENDOR_INTEL && MODULES
endif

config MMIO_ONLY
	tristate "needs no PCI"
	depends on !PCI && NETDEVICES

config HIDDEN
	tristate

config PROVIDES_HIDDEN
	tristate "provider"
	select HIDDEN

config USES_HIDDEN
	tristate "user"
	depends on HIDDEN

config FOLLOWS
	tristate
	default PROVIDES_HIDDEN

config EITHER
	tristate "either"
	depends on (PCI && NETDEVICES && MMIO_ONLY) || PROVIDES_HIDDEN = y || PROVIDES_HIDDEN

config NEVER
	bool "of another architecture"
	depends on OTHER_ARCH

config COMPILE_TEST
	bool "compile what cannot run"

config TEGRA
	tristate "of other hardware"
	depends on (ARCH_TEGRA && !PCI) || COMPILE_TEST

choice
	prompt "packing"
	default PACK_NONE
config PACK_NONE
	bool "none"
config PACK_XZ
	bool "xz"
endchoice

config NAME
	string "name"
	depends on NETDEVICES
"""


def _load(directory: Path, config: str = "") -> KernelOptions:
    (directory / "Kconfig").write_text(_KCONFIG)
    (directory / "config").write_text(config)
    return load_options(
        directory, arch=Arch.AMD64, version="6.1.0", compiler="gcc 12", config=directory / "config"
    )


@pytest.fixture
def options(tmp_path: Path) -> KernelOptions:
    """The small tree with everything off but MODULES."""
    return _load(tmp_path, "CONFIG_MODULES=y\n")


def test_a_driver_brings_what_it_depends_on(options: KernelOptions) -> None:
    """Granting E1000 turns on its vendor, its menu and its bus."""
    options.grant(Wish("E1000", "m"))
    assert {name: options.value(name) for name in ("E1000", "VENDOR_INTEL", "NETDEVICES", "PCI")} == {
        "E1000": "m",
        "VENDOR_INTEL": "y",
        "NETDEVICES": "y",
        "PCI": "y",
    }


def test_what_is_granted_is_written(options: KernelOptions, tmp_path: Path) -> None:
    """The .config that is written holds the granted values."""
    options.grant(Wish("E1000", "m"))
    options.write(tmp_path / "out")
    written = parse_config((tmp_path / "out").read_text())
    assert (written["E1000"], written["PCI"], written["PACK_NONE"]) == ("m", "y", "y")


def test_an_option_without_prompt_comes_by_a_selector(options: KernelOptions) -> None:
    """What only a select can turn on is turned on by way of an option that selects it."""
    options.grant(Wish("USES_HIDDEN", "m"))
    assert (options.value("USES_HIDDEN"), options.value("PROVIDES_HIDDEN")) == ("m", "m")


def test_an_option_without_prompt_comes_by_its_default(options: KernelOptions) -> None:
    """What follows another option by its default is had by turning on that one."""
    options.grant(Wish("FOLLOWS", "m"))
    assert (options.value("FOLLOWS"), options.value("PROVIDES_HIDDEN")) == ("m", "m")


def test_of_alternatives_the_cheapest_is_taken(options: KernelOptions) -> None:
    """An `||` is met by the side that needs the fewest new options."""
    options.grant(Wish("EITHER", "m"))
    assert (options.value("EITHER"), options.value("PCI"), options.value("PROVIDES_HIDDEN")) == (
        "m",
        "n",
        "m",
    )


def test_a_negation_turns_the_other_option_off(tmp_path: Path) -> None:
    """`depends on !PCI` is met by turning PCI off, if nothing selects it."""
    options = _load(tmp_path, "CONFIG_MODULES=y\nCONFIG_PCI=y\n")
    options.grant(Wish("MMIO_ONLY", "m"))
    assert (options.value("MMIO_ONLY"), options.value("PCI")) == ("m", "n")


def test_a_member_of_a_choice_displaces_the_others(options: KernelOptions) -> None:
    """Of a choice one member is on."""
    options.grant(Wish("PACK_XZ", "y"))
    assert (options.value("PACK_XZ"), options.value("PACK_NONE")) == ("y", "n")


def test_a_string_is_set_and_made_visible(options: KernelOptions) -> None:
    """A string's dependencies are turned on too; quotes are the .config's, not the value's."""
    options.grant(Wish("NAME", '"a b"'))
    assert (options.value("NAME"), options.value("NETDEVICES")) == ("a b", "y")


def test_the_unmet_dependency_is_named(options: KernelOptions) -> None:
    """An option of another architecture stays off, and the missing option is named."""
    options.grant(Wish("NEVER", "y"))
    assert options.value("NEVER") == "n"
    assert options.unmet("NEVER", "y") == "needs OTHER_ARCH (does not exist here)"


def test_a_driver_that_can_only_be_compiled_is_not_granted(options: KernelOptions) -> None:
    """COMPILE_TEST, which makes drivers of foreign hardware visible, is no way to one; who names it gets it."""
    options.grant(Wish("PCI", "y"))
    options.grant(Wish("TEGRA", "m"))
    assert (options.value("TEGRA"), options.value("COMPILE_TEST")) == ("n", "n")
    assert options.unmet("TEGRA", "m") == (
        "needs (ARCH_TEGRA (does not exist here) && !PCI (is y)) || COMPILE_TEST (is n)"
    )
    options.grant(Wish("COMPILE_TEST", "y"))
    options.grant(Wish("TEGRA", "m"))
    assert options.value("TEGRA") == "m"


def test_the_chain_of_dependencies_is_followed(options: KernelOptions) -> None:
    """The reason goes down to the dependency that fails first."""
    assert options.unmet("E1000", "m") == (
        "needs VENDOR_INTEL (is n), which needs PCI (is n) and NETDEVICES (is n), NETDEVICES (is n)"
    )


def test_who_selects_an_option_that_should_be_off_is_named(options: KernelOptions) -> None:
    """An option that is selected cannot be turned off: its selector is the reason."""
    options.grant(Wish("PROVIDES_HIDDEN", "m"))
    options.grant(Wish("HIDDEN", "n"))
    assert options.unmet("HIDDEN", "n") == "selected by PROVIDES_HIDDEN"


def test_an_unknown_option_is_said_to_be_unknown(options: KernelOptions) -> None:
    """A mistyped option is met with the names that are like it."""
    options.grant(Wish("VENDOR_INTLE", "y"))
    assert options.unmet("VENDOR_INTLE", "y") == "this source has no such option (it has VENDOR_INTEL)"
    assert not options.known("VENDOR_INTLE")


def test_a_broken_tree_is_an_input_error(tmp_path: Path) -> None:
    """A Kconfig file that does not parse is the caller's tree, named with the line."""
    (tmp_path / "Kconfig").write_text("config A\n\tnonsense here\n")
    (tmp_path / "config").touch()
    with pytest.raises(InputError, match=r"Kconfig:2"):
        load_options(
            tmp_path, arch=Arch.AMD64, version="6.1.0", compiler="gcc 12", config=tmp_path / "config"
        )
