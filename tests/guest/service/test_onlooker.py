"""The onlooker: what it says of modules that others load, without a kernel; and the daemon's loop around it."""

from typing import Any

import pytest

from modaliasd.core.device import Device
from modaliasd.core.kmod.modules_dep import Dependencies
from modaliasd.core.kmod.plan import Denial, Denied, Match, Plan, Stage, Step
from modaliasd.core.ledger.answers.explain import why_module
from modaliasd.core.ledger.history import History, history_of
from modaliasd.core.loading.cause import Cause
from modaliasd.service.loads import onlooker
from modaliasd.service.loads.onlooker import HELD_US, SLOW_US, Onlooker
from tests.support.fakeworld import FakeResolver, Fakes, FakeSysfs

CARD = "/devices/pci0000:00/0000:00:03.0"
DEPENDENCIES = Dependencies(
    "k/nic.ko: k/lib.ko\nk/lib.ko:\nk/fs.ko: k/journal.ko\nk/journal.ko:\nk/old.ko:\n"
)


class Sys(FakeSysfs):
    """A /sys in which these modules are live."""

    def __init__(self, devices: list[Device] | None = None, seqnums: list[int] | None = None) -> None:
        super().__init__(devices, seqnums)
        self.live: set[str] = set()

    def is_live(self, module: str) -> bool:
        """Has its init ended?"""
        return module in self.live


class Resolver(FakeResolver):
    """`pci:nic` asks for nic, which needs lib; `pci:bad` for a module that a line denies."""

    def resolve(self, modalias: str) -> Plan:
        """The plan for these two; nothing for others."""
        if modalias == "pci:bad":
            match = Match("bad", "pci:b*", "modules.alias", 2)
            return Plan(
                modalias, Stage.ALIAS, (match,), denied=(Denial("bad", Denied.BLACKLIST, "/x.conf", 3),)
            )
        if modalias != "pci:nic":
            return Plan(modalias, Stage.NONE)
        steps = (Step("lib", "k/lib.ko"), Step("nic", "k/nic.ko", needs=("lib",)))
        return Plan(modalias, Stage.ALIAS, (Match("nic", "pci:n*", "modules.alias", 1),), steps)


class World:
    """An onlooker, a clock, a /sys and a ledger."""

    def __init__(self, *live: str) -> None:
        self.sysfs = Sys()
        self.fakes = Fakes(sysfs=self.sysfs, resolver=Resolver(), observing=True, start={"mode": "observe"})
        self.fakes.start |= {"version": "0", "kernel": "6.1.0-test", "pid": 1}
        self.looker = Onlooker(
            sysfs=self.sysfs,
            writer=self.fakes.writer(),
            dependencies=lambda: DEPENDENCIES,
            clock=lambda: self.fakes.now_us,
            live=live,
        )
        self.fakes.watcher = self.looker

    def want(self, modalias: str) -> None:
        """A device asks."""
        cause = Cause(CARD, "pci", modalias)
        self.looker.want(self.fakes.resolver.resolve(modalias), cause, modalias)

    def pass_time(self, us: int) -> None:
        """So much later, the loop has its turn."""
        self.fakes.now_us += us
        self.looker.start_jobs()
        self.looker.write_ended()

    def loads(self) -> list[dict[str, Any]]:
        """The `load` lines."""
        self.looker.write_ended()
        return [record for record in self.fakes.records() if record["type"] == "load"]

    def history(self) -> History:
        """What the ledger tells."""
        self.looker.write_ended()
        return history_of(self.fakes.records())


def test_what_udev_loads_is_told_with_the_device_and_the_time() -> None:
    """The line of each module has its cause, when its insertion began, and when its init had ended."""
    world = World()
    world.want("pci:nic")
    world.fakes.now_us = 5000
    assert not world.looker.appeared("lib", 4000)
    assert not world.looker.appeared("nic", 4500)
    world.pass_time(0)
    assert [load["module"] for load in world.loads()] == ["lib"], "nic is not live yet"
    assert not world.looker.idle
    world.sysfs.live |= {"lib", "nic"}
    world.pass_time(1000)
    lib, nic = world.loads()
    assert (lib["module"], lib["outcome"], lib["causes"]) == ("lib", "observed", [{"module": "nic"}])
    assert nic["causes"][0]["devpath"] == CARD
    assert nic["causes"][0]["alias"] == "pci:n*"
    assert (lib["start_us"], lib["end_us"]) == (4000, 4500), "what a module needs is up when that comes"
    assert (nic["queued_us"], nic["start_us"], nic["end_us"], nic["deps"]) == (0, 4500, 6000, ["lib"])
    assert world.looker.idle


def test_what_was_in_before_is_told_as_live() -> None:
    """A daemon that comes late names the device for what it finds, without a time of insertion."""
    world = World("lib", "nic")
    world.want("pci:nic")
    assert [(load["module"], load["outcome"]) for load in world.loads()] == [("nic", "live"), ("lib", "live")]
    assert "start_us" not in world.loads()[0]


def test_what_a_line_denies_is_told_once() -> None:
    """udev's libkmod goes by the same lines; one that comes all the same was loaded by hand, and is told again."""
    world = World()
    world.want("pci:bad")
    world.want("pci:bad")
    [load] = world.loads()
    assert (load["outcome"], load["message"]) == ("denied", "blacklist: /x.conf:3")
    world.looker.appeared("bad", 10)
    world.sysfs.live.add("bad")
    world.pass_time(10)
    assert [load["outcome"] for load in world.loads()] == ["denied", "observed"]


def test_what_a_request_brings_first_is_explained_by_what_needed_it() -> None:
    """modprobe inserts what a module needs before it, and nobody knows for whom until that comes."""
    world = World()
    world.looker.appeared("journal", 0)
    world.sysfs.live.add("journal")
    world.pass_time(HELD_US - 1)
    assert world.loads() == []
    world.looker.appeared("fs", world.fakes.now_us)
    world.sysfs.live.add("fs")
    world.pass_time(0)
    assert [load["causes"] for load in world.loads()] == [[{"module": "fs"}]]
    world.pass_time(HELD_US)
    assert [load["module"] for load in world.loads()] == ["journal", "fs"]
    assert "causes" not in world.loads()[1], "the kernel asked, or a hand"
    assert world.loads()[1]["ms"] == 0, "it was live at once, though its line waited"


def test_the_first_walk_may_find_the_device_later() -> None:
    """While it is under way a module without a reason waits, however long it takes."""
    world = World()
    world.looker.appeared("nic", 0)
    world.sysfs.live.add("nic")
    world.fakes.now_us = 10 * HELD_US
    world.looker.start_jobs(coldplug=True)
    assert world.loads() == []
    world.want("pci:nic")
    world.looker.start_jobs(coldplug=True)
    assert world.loads()[0]["causes"][0]["devpath"] == CARD


def test_an_init_that_fails_is_told() -> None:
    """The kernel says `remove` of a module whose init gave an error; there is no more to be known."""
    world = World()
    world.want("pci:nic")
    world.looker.appeared("nic", 0)
    world.looker.appeared("fs", 0)
    world.looker.left("nic")
    world.looker.left("fs")
    nic, fs = world.loads()
    assert (nic["module"], nic["outcome"], nic["failure"]) == ("nic", "failed", "unknown")
    assert (fs["module"], fs["outcome"]) == ("fs", "failed")
    assert world.looker.idle


def test_removed_and_loaded_again_is_two_loads() -> None:
    """rmmod and a new plug: the second line has the reasons of the first."""
    world = World()
    world.want("pci:nic")
    for _ in range(2):
        world.looker.appeared("nic", world.fakes.now_us)
        world.sysfs.live.add("nic")
        world.pass_time(10)
        world.looker.left("nic")
    loads = world.loads()
    assert [load["outcome"] for load in loads] == ["observed", "observed"]
    assert loads[0]["causes"] == loads[1]["causes"] != []


def test_a_long_init_is_named_and_looked_at_less_and_less_often() -> None:
    """No spinning: 10 ms at first, a second at most; `slow` once; and the coldplug can end without it."""
    world = World()
    world.want("pci:nic")
    world.looker.appeared("nic", 0)
    waits = [world.looker.report_slow() for _ in range(12)]
    assert (waits[0], waits[1], waits[-1]) == (10, 20, onlooker.LONGEST_LOOK_MS)
    assert world.looker.stuck() == []
    world.fakes.now_us = SLOW_US
    world.looker.report_slow()
    world.looker.report_slow()
    assert [r["module"] for r in world.fakes.records() if r["type"] == "slow"] == ["nic"]
    assert world.looker.stuck() == ["nic"]


def test_lost_events_are_made_good(monkeypatch: pytest.MonkeyPatch) -> None:
    """After an overrun /proc/modules says what came and went meanwhile."""
    world = World("old")
    world.want("pci:nic")
    monkeypatch.setattr(onlooker, "read_live_modules", lambda: ["nic"])
    world.sysfs.live.add("nic")
    world.looker.recheck_live()
    world.pass_time(0)
    assert [load["module"] for load in world.loads()] == ["nic"]
    assert not world.looker.is_known("old")


def test_the_daemon_around_it_loads_nothing_and_tells_why() -> None:
    """A walk, udev's insertion, a settle: `why` has the device, and nothing was started or sent on."""
    world = World()
    fakes = world.fakes
    world.sysfs.devices = [Device(CARD, "pci", "pci:nic")]
    world.sysfs.live |= {"lib", "nic"}
    fakes.uevents.listening = True
    fakes.uevents.event("/module/lib", 1, SUBSYSTEM="module")
    fakes.uevents.event("/module/nic", 2, SUBSYSTEM="module")
    world.sysfs.seqnums.clear()
    world.sysfs.seqnums.extend([0, 2])
    assert fakes.service().run(once=True) == 0
    why = why_module(world.history(), "nic")
    assert why is not None
    assert why.load is not None
    assert [asker.device.devpath for asker in why.askers] == [CARD]
    assert why.load.outcome == "observed"
    [settled] = [record for record in fakes.records() if record["type"] == "settled"]
    assert (settled["loads"], settled["failed"]) == (2, 0)
    assert [record for record in fakes.records() if record["type"] == "module"] == []
