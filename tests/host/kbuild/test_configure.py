"""hostbuild.kbuild.configure and its command, on a toy tree whose configuration targets are kconfiglib's."""

import errno
import json
import os
import pty
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from hostbuild.errors import CommandError, InputError, WorldError
from hostbuild.formats.kconfig import Wish, parse_config
from hostbuild.fs.room import room_in
from hostbuild.kbuild.configure import Configured, Unmet, configure
from hostbuild.kbuild.source import read_tree
from hostbuild.main import status_of
from hostbuild.ui import Silent

pytestmark = pytest.mark.toolchain

# kbuild's configuration targets; its menu only looks whether it has a terminal, and unsets an option
_MAKEFILE = f"""\
VERSION = 6
PATCHLEVEL = 1

export KCONFIG_CONFIG = $(O)/.config
export srctree = $(CURDIR)
tinyconfig:
	@echo 'CONFIG_QUIET=y' > $(O)/.config
	@{sys.executable} -m olddefconfig > /dev/null
olddefconfig:
	@{sys.executable} -m olddefconfig > /dev/null
menuconfig:
	@test -t 0 -a -t 1 && sed -i /CONFIG_QUIET/d $(O)/.config && echo CONFIG_QUIET=n >> $(O)/.config
"""
_KCONFIG = """\
config MODULES
	bool "modules"
	option modules
config QUIET
	bool "quiet"
config PCI
	bool "PCI"
config E1000
	tristate "e1000"
	depends on PCI
config NVME
	tristate "nvme"
	depends on PCI && FOREIGN
config BUILTIN_ONLY
	bool "no module"
config SELECTED
	tristate
	select E1000
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree with two network drivers, of which one cannot be had."""
    directory = tmp_path / "toy"
    (directory / "drivers/net").mkdir(parents=True)
    (directory / "Makefile").write_text(_MAKEFILE)
    (directory / "Kconfig").write_text(_KCONFIG)
    (directory / "drivers/net/Makefile").write_text(
        "obj-$(CONFIG_E1000) += e1000.o\nobj-$(CONFIG_NVME) += nvme.o\n"
    )
    return directory


def _lookup(modalias: str) -> Sequence[str]:
    return {"pci:e1000": ["e1000"], "pci:other": ["other"]}.get(modalias, [])


def _configure(tree: Path, *words: str, base: str = "tinyconfig", **options: object) -> Configured:
    given = {"wishes": (Wish("MODULES", "y"),), "guest": False, **options}
    return configure(read_tree(tree), base=base, modules=words, lookup=_lookup, report=Silent(), **given)  # type: ignore[arg-type]


def test_a_driver_comes_with_its_dependencies(tree: Path) -> None:
    """The driver is a module, what it needs is on, the base's options stay, and nothing is written to the tree."""
    before = sorted(tree.rglob("*"))
    made = _configure(tree, "e1000")
    config = parse_config(made.text)
    assert (config["E1000"], config["PCI"], config["QUIET"]) == ("m", "y", "y")
    assert [(driver.asked, option) for driver, option in made.drivers] == [("e1000", "E1000")]
    assert (made.unmet, made.count("m")) == ((), 1)
    assert sorted(tree.rglob("*")) == before


def test_a_wish_that_did_not_come_true_is_named_with_its_reason(tree: Path) -> None:
    """A driver that needs what this source does not have, and an option that does not exist."""
    made = _configure(tree, "nvme", wishes=(Wish("MODULES", "y"), Wish("E100", "m")))
    assert made.unmet == (
        Unmet(Wish("E100", "m"), "n", "this source has no such option (it has E1000)"),
        Unmet(Wish("NVME", "m"), "n", "needs FOREIGN (does not exist here)", "nvme"),
    )


def test_wishes_that_exclude_each_other_are_named(tree: Path) -> None:
    """An option that should be off and that a driver needs is on, and the reason names the driver's."""
    made = _configure(tree, "e1000", wishes=(Wish("MODULES", "y"), Wish("PCI", "n")))
    assert made.unmet == (Unmet(Wish("PCI", "n"), "y", "E1000 needs it"),)


def test_a_capture_brings_the_drivers_that_there_are(tree: Path) -> None:
    """Of a capture's modaliases those with a driver are granted, the others counted and no error."""
    made = _configure(tree, modaliases=("pci:e1000", "pci:other", "acpi:none"))
    assert [(driver.asked, option) for driver, option in made.drivers] == [("pci:e1000", "E1000")]
    assert made.unanswered == ("pci:other", "acpi:none")


def test_modules_of_the_base_can_be_left_out(tree: Path, tmp_path: Path) -> None:
    """mod2noconfig: the base's modules go, what is asked for comes."""
    (tmp_path / "base").write_text("CONFIG_MODULES=y\nCONFIG_PCI=y\nCONFIG_E1000=m\n")
    base = str(tmp_path / "base")
    assert parse_config(_configure(tree, base=base).text)["E1000"] == "m"
    assert parse_config(_configure(tree, base=base, without_modules=True).text)["E1000"] == "n"
    assert parse_config(_configure(tree, "e1000", base=base, without_modules=True).text)["E1000"] == "m"


def test_the_guests_fragment_yields_to_the_user(tree: Path) -> None:
    """What the user says counts; an option of the fragment that the source does not have (SYSFS) is no unmet wish."""
    made = _configure(tree, guest=True, wishes=(Wish("MODULES", "n"), Wish("PCI", "y")))
    assert parse_config(made.text)["MODULES"] == "n"
    assert made.unmet == ()


def test_an_unknown_base_is_refused_with_those_there_are(tree: Path) -> None:
    """A mistyped base is neither a target nor a file."""
    with pytest.raises(InputError, match=r"tinyconf is neither a file nor one of tinyconfig, defconfig"):
        _configure(tree, base="tinyconf")


@contextmanager
def _standing_on(descriptor: int) -> Iterator[None]:
    """Make a descriptor this process's standard input and output."""
    kept = os.dup(0), os.dup(1)
    try:
        os.dup2(descriptor, 0)
        os.dup2(descriptor, 1)
        yield
    finally:
        for number, old in enumerate(kept):
            os.dup2(old, number)
            os.close(old)


def test_the_menu_has_the_last_word(tree: Path) -> None:
    """kbuild's menu gets hostbuild's own terminal, and what is changed in it counts."""
    ours, theirs = pty.openpty()
    with _standing_on(theirs):
        made = _configure(tree, by_hand=True)
    os.close(ours)
    os.close(theirs)
    assert parse_config(made.text)["QUIET"] == "n"


def test_a_menu_that_fails_is_an_error(tree: Path) -> None:
    """Its status is named; nothing is taken for configured."""
    with (
        open(os.devnull, "r+") as nothing,
        _standing_on(nothing.fileno()),
        pytest.raises(CommandError, match="menu ended with status 2"),
    ):
        _configure(tree, by_hand=True)


def test_the_command_says_what_it_made(tree: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Each driver with its option on stdout, what is not met on stderr, and status 1 for that."""
    out = tmp_path / "kernel.config"
    words = [
        "kernel",
        "configure",
        "--source",
        str(tree),
        "--no-guest",
        "--enable",
        "MODULES",
        "-o",
        str(out),
    ]
    assert status_of([*words, "--module", "e1000"]) == 0
    said = capfd.readouterr()
    assert "e1000: CONFIG_E1000 (module e1000)\n" in said.out
    assert f"{out}: Linux 6.1, 1 modules" in said.out
    assert status_of([*words, "--module", "e1000", "--module", "nvme"]) == 1
    assert "not met: nvme: CONFIG_NVME=m is n; needs FOREIGN" in capfd.readouterr().err
    assert parse_config(out.read_text())["E1000"] == "m"
    assert status_of([*words, "--module", "e1000", "--module", "nvme", "--json"]) == 1
    made = json.loads(capfd.readouterr().out)
    assert made["drivers"][0] == {"asked": "e1000", "option": "CONFIG_E1000", "module": "e1000"}
    [unmet] = made["unmet"]
    assert (unmet["asked"], unmet["is"], unmet["why"]) == ("nvme", "n", "needs FOREIGN (does not exist here)")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--source", "nowhere"], "there is no kernel source at nowhere"),
        (["--menuconfig"], "--menuconfig needs a terminal"),
        (["--module", "e10000"], "no Makefile of this kernel source builds a module named e10000"),
        (["--enable", "no-such.fragment"], "'no-such.fragment' is neither a file nor an option"),
        (["-o", "nowhere/x"], "cannot write the configuration nowhere/x: there is no directory nowhere"),
    ],
    ids=["source", "menu", "driver", "fragment", "output"],
)
def test_what_the_command_refuses(
    words: list[str],
    complaint: str,
    tree: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A mistake on the command line ends with status 100 and words, and no configuration is written."""
    monkeypatch.chdir(tmp_path)
    assert status_of(["kernel", "configure", "--source", str(tree), *words]) == 100
    assert complaint in capfd.readouterr().err
    assert not (tmp_path / "kernel.config").exists()


@pytest.mark.parametrize(
    "failure",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        CommandError("x", argv=("tar",), status=2, stderr="tar: y: Cannot write: No space left on device"),
    ],
    ids=["ours", "a program's"],
)
def test_a_full_disk_is_said_in_words(failure: Exception, tmp_path: Path) -> None:
    """Whoever met it, hostbuild or a program of its, the message says so and what fixes it."""
    with pytest.raises(WorldError, match="no room is left") as caught, room_in(tmp_path):
        raise failure
    assert "XDG_CACHE_HOME" in caught.value.hint
    with pytest.raises(OSError, match="other"), room_in(tmp_path):
        raise OSError(errno.EIO, "other")
