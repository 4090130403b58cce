"""The daemon's loop with a real loader and processes: modprobe is a script, modules are files below a made-up /sys."""

import threading
from pathlib import Path
from typing import Any

from modaliasd.core.kmod.invocation import Flavour
from modaliasd.core.kmod.modprobe_d import Configuration
from modaliasd.core.kmod.modules_dep import Dependencies
from modaliasd.core.kmod.resolve import Resolver
from modaliasd.core.loading.priority import Rank
from modaliasd.core.policy.rules import parse_policy
from modaliasd.linux.process import Child, start
from modaliasd.linux.sysfs import Sysfs
from modaliasd.service.loads.loader import Loader
from modaliasd.service.loads.tools import Tools
from tests.support.fakeworld import Fakes, FakeSysfs, NoLog

STICK = "/devices/usb1/1-4"
ALIASES = {"usb:stick": "storage", "usb:other": "storage"}
# With -r it removes; both with the names that come after the options.
MODPROBE = """#!/bin/sh
cd "$(dirname "$0")/sys/module" || exit 1
remove=
for word; do
    case $word in
    -r) remove=yes ;;
    -*) ;;
    *) if [ $remove ]; then rm -r "$word"; else mkdir -p "$word" && echo live >"$word/initstate"; fi ;;
    esac
done
"""


class LiveSysfs(FakeSysfs):
    """A /sys whose modules are those of a directory."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.real = Sysfs(str(root))

    def is_live(self, module: str) -> bool:
        """Whether its directory says so."""
        return self.real.is_live(module)


class World:
    """A service around a real loader."""

    def __init__(self, root: Path, policy: str = "", **more: Any) -> None:
        (root / "sys/module").mkdir(parents=True)
        self.modules = root / "sys/module"
        modprobe = root / "modprobe"
        modprobe.write_text(MODPROBE)
        modprobe.chmod(0o755)
        sysfs = LiveSysfs(root / "sys")
        self.resolver = Resolver(
            Configuration(),
            Dependencies("k/storage.ko:\nk/early.ko:\n"),
            lambda word: [(ALIASES[word], "usb:*", 1, False)] if word in ALIASES else [],
        )
        parsed = parse_policy(policy, "policy.toml") if policy else None
        self.fakes = Fakes(sysfs=sysfs, resolver=self.resolver, policy=parsed, **more)  # type: ignore[arg-type]
        self.loader = Loader(
            tools=Tools(str(modprobe), str(modprobe), "/bin/sh", Flavour.KMOD, str(root)),
            sysfs=sysfs,
            writer=self.fakes.writer(),
            kernel_log=NoLog(),
            gate=self.fakes._gate(),
            clock=lambda: self.fakes.now_us,
            live=(),
            limit=4,
        )
        self.fakes.watcher = self.loader
        self.service = self.fakes.service()

    def settle(self) -> None:
        """Turn the loop until it has settled once more."""
        settlement = self.service._settlement
        before = settlement.settles

        def turn() -> None:
            while settlement.settles == before:
                self.fakes.now_us += 1000
                self.service._turn()
                if settlement.settles == before:
                    self.service._wait()

        thread = threading.Thread(target=turn, daemon=True)
        thread.start()
        thread.join(20)
        assert not thread.is_alive(), self.fakes.records()[-3:]

    def event(self, number: int, action: str, devpath: str = STICK, **fields: str) -> None:
        """Have the kernel tell of a device."""
        self.fakes.sysfs.seqnums[0] = number
        self.fakes.uevents.event(devpath, number, action, SUBSYSTEM="usb", **fields)
        self.fakes.uevents.ring()
        self.service._take_uevents()

    def told(self, kind: str) -> list[dict[str, Any]]:
        """The ledger's records of a kind."""
        return [record for record in self.fakes.records() if record["type"] == kind]


def test_a_module_comes_with_its_device_and_goes_with_it(tmp_path: Path) -> None:
    """With `unload` in the policy: loaded at the plug, removed once its last device has gone, and loaded anew."""
    world = World(tmp_path, 'unload = ["usb"]\n')
    world.settle()
    for first in (1, 3):
        world.event(first, "add", MODALIAS="usb:stick")
        world.settle()
        assert (world.modules / "storage").is_dir()
        world.event(first + 1, "remove", MODALIAS="usb:stick")
        world.settle()
        assert not (world.modules / "storage").exists()
    outcomes = [record["outcome"] for record in world.told("load") if record["module"] == "storage"]
    assert outcomes == ["inserted", "inserted"]
    assert [(one["module"], one["outcome"], one["devpath"]) for one in world.told("unload")] == [
        ("storage", "removed", STICK)
    ] * 2


def test_a_module_that_another_device_wants_stays(tmp_path: Path) -> None:
    """One of two sticks goes: the other keeps the module."""
    world = World(tmp_path, 'unload = ["usb"]\n')
    world.event(1, "add", MODALIAS="usb:stick")
    world.event(2, "add", "/devices/usb1/1-5", MODALIAS="usb:other")
    world.settle()
    world.event(3, "remove", MODALIAS="usb:stick")
    world.settle()
    assert (world.modules / "storage").is_dir()
    assert world.told("unload") == []


def test_the_hooks_process_is_waited_for(tmp_path: Path) -> None:
    """What runs at the first settle leaves no zombie behind, and is no job: it keeps nothing from settling."""
    hooks: list[Child] = []

    def hook(_status: int) -> Child:
        hooks.append(start("/bin/true", []))
        return hooks[0]

    world = World(tmp_path, on_settled=hook)
    world.settle()
    assert Path(f"/proc/{hooks[0].pid}").exists(), "it has ended, and nobody has asked how"
    world.service._wait()
    assert not Path(f"/proc/{hooks[0].pid}").exists()
    world.event(1, "add", MODALIAS="usb:stick")
    world.settle()
    assert len(hooks) == 1


def test_what_waits_for_the_search_comes_when_nothing_else_is_left(tmp_path: Path) -> None:
    """A hold on all that is no bus leaves other loads until nothing runs; FIRST has those wait that are not urgent."""
    world = World(tmp_path)
    world.loader.hold(Rank.FIRST)
    world.event(1, "add", MODALIAS="usb:stick")
    for _ in range(3):
        world.service._turn()
    assert world.loader.unfinished() == ["storage"]
    assert world.loader.running == 0
    world.loader.hold(Rank.BUS)
    world.settle()
    assert world.loader.unfinished() == []
    assert world.loader.has_inserted("storage")


def test_what_the_command_line_wants_is_loaded_first(tmp_path: Path) -> None:
    """modaliasd.load=: a module that no device asks for, by the word that did; a device's own cause comes on top."""
    world = World(tmp_path, wanted=("early",))
    world.settle()
    [load] = world.told("load")
    assert (load["module"], load["outcome"]) == ("early", "inserted")
    assert load["causes"] == [{"request": "modaliasd.load="}]
