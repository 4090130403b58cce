"""What why, why-not and the tree say of a device or module in each state that a boot can leave it in."""

import subprocess

import pytest

from modaliasd.core.ledger.answers.explain import why_device, why_module
from modaliasd.core.ledger.answers.explain_not import ModuleFacts, Reason, alias_matches, why_not
from modaliasd.core.ledger.answers.fixes import shell_word
from modaliasd.core.ledger.answers.text_explain import device_text, module_text
from modaliasd.core.ledger.history import history_of
from modaliasd.core.ledger.text_tree import render_tree
from tests.support.ledgers import Maker, asked_by, small_boot

CARD = "/devices/pci0000:00/0000:00:03.0"
CAUSE = asked_by(CARD, "pci:v1d1", "pci:v1d*")


def card(*, observed: bool = False) -> Maker:
    """A card that the module `nic` is for."""
    maker = Maker()
    if observed:
        maker.records[0]["mode"] = "observe"
    maker.device(CARD, subsystem="pci", modalias="pci:v1d1", matches=[("pci:v1d*", "nic")])
    return maker


def told(maker: Maker, module: str) -> str:
    """What why says of a module."""
    history = history_of(maker.records)
    why = why_module(history, module)
    assert why is not None
    return module_text(history, why)


def told_of_device(maker: Maker, devpath: str = CARD) -> str:
    """What why says of a device."""
    history = history_of(maker.records)
    return device_text(history, why_device(history, history.devices[devpath]))


def test_a_load_that_was_observed() -> None:
    """Somebody else loaded it: how long that took, and for whom what it needs came, though that was told before."""
    maker = card(observed=True)
    maker.load("mii", outcome="observed", start_us=maker.t_us - 2000)
    maker.load("nic", CAUSE, outcome="observed", start_us=maker.t_us - 3000, deps=["mii"])
    assert "  somebody else had it loaded, 2.0 ms after it was first asked for\n" in told(maker, "nic")
    assert "  nic needs it, pci 0000:00:03.0 by pci:v1d*\n" in told(maker, "mii")


def test_a_module_for_which_many_ask_and_that_drives_none() -> None:
    """The first twelve devices are named, the others counted; that it drives none is said."""
    maker = Maker()
    for number in range(15):
        maker.device(f"/devices/d{number}", subsystem="x", modalias="x:y", matches=[("x:*", "nic")])
    maker.load("nic", asked_by("/devices/d0", "x:y", "x:*"))
    text = told(maker, "nic")
    assert "x d11 asked for it" in text
    assert "x d12 " not in text
    assert "  and 3 devices more\n" in text
    assert "  drives no device that the ledger knows of\n" in text


def test_how_a_load_without_times_ended() -> None:
    """A failure has its message; what was in the kernel before the daemon is told as that."""
    assert told(small_boot(), "dog").startswith(
        "dog  denied: blacklisted in /etc/modprobe.d/dogs.conf, line 3\n"
    )
    maker = card()
    maker.load("nic", CAUSE, outcome="live")
    assert told(maker, "nic").startswith("nic  was in the kernel already\n")


@pytest.mark.parametrize(
    ("observed", "where"), [(False, "in this image"), (True, "among this kernel's modules")]
)
def test_a_device_that_no_alias_matches(*, observed: bool, where: str) -> None:
    """Where it was looked for differs: a full system has all of a kernel's modules."""
    maker = Maker()
    maker.records[0]["mode"] = "observe" if observed else ""
    maker.device(CARD, subsystem="pci", modalias="pci:v1d1", matches=[])
    assert f"  no alias matches it {where}\n" in told_of_device(maker)


def test_a_driver_that_did_not_take_its_device() -> None:
    """The device, the tree and why-not name the driver; the kernel's log has the reason."""
    maker = card()
    maker.load("nic", CAUSE)
    maker.add("unbound", devpath=CARD, subsystem="pci", drivers=["nic-driver"], modules=["nic"])
    assert "  unbound: nic-driver did not take it\n" in told_of_device(maker)
    history = history_of(maker.records)
    assert "unbound: nic-driver did not take it" in render_tree(history)
    answer = why_not(history, "nic", ModuleFacts())
    assert (answer.reason, answer.fix) == (Reason.UNBOUND, "dmesg says why a probe failed")
    assert answer.details == (f"{CARD} asked for it; its driver (nic-driver) did not take the device.",)


def test_a_driver_that_let_go() -> None:
    """Why-not says who had the device; that a probe failed it does not say."""
    maker = card()
    maker.load("nic", CAUSE)
    maker.device(CARD, "bind", subsystem="pci", driver="nic-driver", module="nic")
    maker.device(CARD, "unbind", subsystem="pci", driver="nic-driver")
    answer = why_not(history_of(maker.records), "nic", ModuleFacts())
    assert answer.details == (f"{CARD} asked for it; nic-driver had it, and has let go of it.",)
    assert answer.fix == ""


def test_a_match_that_is_built_in() -> None:
    """Neither tree nor why call it loaded."""
    maker = card()
    maker.records[-1]["matches"][0]["builtin"] = True
    maker.device("/devices/x", subsystem="x", modalias="x:y", matches=[("x:*", "m")])
    assert "    nic  is built into the kernel\n" in told_of_device(maker)
    maker.load("nic", {"devpath": CARD, "modalias": "pci:v1d1"}, outcome="builtin")
    other = f"{CARD}/other"
    maker.device(other, subsystem="x", modalias="x:y", matches=[("x:*", "nic"), ("x:*", "m")])
    assert "    nic  is built into the kernel\n" in told_of_device(maker, other)


def test_the_second_that_asks() -> None:
    """Who had the module loaded is named: a device, or somebody by name; a denied one is told once in the tree."""
    maker = card()
    maker.load("nic", CAUSE)
    second = "/devices/pci0000:00/0000:00:04.0"
    maker.device(
        second, subsystem="pci", modalias="pci:v1d2", matches=[("pci:v1d*", "nic"), ("pci:*", "extra")]
    )
    maker.load("extra", {"request": "modaliasd load"})
    text = told_of_device(maker, second)
    assert "    nic  was in already (0000:00:03.0 asked first)\n" in text
    assert "    extra  was in already (modaliasd load had it loaded)\n" in text
    denied = small_boot()
    denied.device(
        "/devices/pci0000:00/0000:00:06.0", subsystem="pci", modalias="pci:v2d3", matches=[("pci:v2*", "dog")]
    )
    assert "dog denied, see 0000:00:04.0" in render_tree(history_of(denied.records))


def test_the_tree_by_time_tells_of_plugs_and_by_module_only_of_news() -> None:
    """A device that came after the settle and went again has both its times; older loads are left out."""
    maker = small_boot()
    since = maker.t_us
    maker.device("/devices/new", "add", subsystem="x", modalias="x:n", matches=[("x:n", "nu")])
    maker.load("nu", {"devpath": "/devices/new", "modalias": "x:n", "alias": "x:n"})
    maker.device("/devices/new", "remove", subsystem="x")
    history = history_of(maker.records)
    lines = render_tree(history, "time", since_us=since - 1).splitlines()
    assert [line.split(" s  ")[1] for line in lines if "plugged" in line] == [
        "plugged new",
        "unplugged new",
    ]
    by_module = render_tree(history, "module", since_us=since - 1)
    assert "nu " in by_module
    assert "nic " not in by_module


def test_lost_events_close_the_tree() -> None:
    """How many uevents were lost, and that a walk has made up for them."""
    maker = small_boot()
    maker.add("lost", events=3, what="overrun")
    maker.add("lost", events=4, what="gap")
    assert "7 uevents were lost, and made good by another walk\n" in render_tree(history_of(maker.records))


def test_what_nobody_has_loaded_where_others_load() -> None:
    """With a daemon that observes: the device, which another driver has, and a fix that does not ask the daemon."""
    maker = card(observed=True)
    maker.device(CARD, "bind", subsystem="pci", driver="generic")
    answer = why_not(history_of(maker.records), "nic", ModuleFacts(live=False))
    assert answer.reason is Reason.NOT_LOADED
    assert answer.details[:2] == (f"{CARD} matched it by pci:v1d*.", f"{CARD} is driven by generic.")
    maker.load("nic", CAUSE, outcome="observed", start_us=maker.t_us - 3000)
    maker.add("module", action="remove", module="nic")
    answer = why_not(history_of(maker.records), "nic", ModuleFacts(live=False))
    assert (answer.reason, answer.fix) == (Reason.REMOVED, "modprobe nic")


@pytest.mark.parametrize(("alias", "matched"), [("pci:v1*", True), ("pci:[", False), ("pci:]", False)])
def test_a_malformed_alias_matches_nothing(alias: str, *, matched: bool) -> None:
    """As kmod, which refuses unbalanced brackets."""
    assert alias_matches(alias, "pci:v1d1") is matched


@pytest.mark.parametrize("name", ["nic", "snd-hda.1", "-rf", "it's", "$(reboot)", "", "a b"])
def test_a_fix_is_one_word_for_a_shell(name: str) -> None:
    """Whatever a ledger calls a module: a shell takes it for the name, and for nothing else."""
    done = subprocess.run(
        ["sh", "-c", f"printf %s {shell_word(name)}"], capture_output=True, text=True, check=True
    )
    assert done.stdout == ("" if name == "" else name) or name.startswith("-")
    assert shell_word(name) == name or shell_word(name).startswith("'")
