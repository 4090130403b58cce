"""unloader.py: which modules go with their last device, with a modprobe that is a shell and a made-up /sys."""

import select
from pathlib import Path
from typing import Any

import pytest

from modaliasd.linux.process import Child, start
from modaliasd.service.loads.unloader import Unloader


class World:
    """All that the unloader asks of others: modules are files below `sys`, `wanted` the devices' wishes."""

    def __init__(self, sys: Path) -> None:
        self.sys = sys
        self.orphans: dict[str, str] = {}
        self.inserted: set[str] = set()
        self.wanted: set[str] = set()
        self.commands: dict[str, str] = {}
        self.left: list[str] = []
        self.again: list[str] = []
        self.records: list[dict[str, Any]] = []
        self.unloader = Unloader(registry=self, loader=self, resolver=self, sysfs=self, writer=self)

    def orphan(self, module: str, *, inserted: bool = True) -> None:
        """Have a module's last device go."""
        (self.sys / module).touch()
        self.orphans[module] = f"/devices/{module}"
        if inserted:
            self.inserted.add(module)

    def take_orphans(self) -> dict[str, str]:
        """The modules whose last device went; each once."""
        taken, self.orphans = self.orphans, {}
        return taken

    def has_orphans(self) -> bool:
        """Whether there are any."""
        return bool(self.orphans)

    def is_wanted(self, module: str) -> bool:
        """Whether a device asks for it."""
        return module in self.wanted

    def module_left(self, module: str) -> None:
        """Note that it was removed."""
        self.left.append(module)

    def want_again(self, module: str) -> None:
        """Note that devices may ask for it again."""
        self.again.append(module)

    def has_inserted(self, module: str) -> bool:
        """Whether the daemon inserted it."""
        return module in self.inserted

    def remove_command(self, module: str) -> str:
        """The shell's words that stand for modprobe -r."""
        return self.commands.get(module, f"rm {self.sys}/{module}")

    def start_removal(self, module: str, command: str) -> Child:  # noqa: ARG002
        """Run them."""
        if command == "no memory":
            raise OSError(12, "Cannot allocate memory")
        return start("/bin/sh", ["-c", command])

    def is_live(self, module: str) -> bool:
        """Whether its file is there."""
        return (self.sys / module).exists()

    def write(self, kind: str, fields: dict[str, Any], t_us: int = -1) -> None:
        """Keep a record."""
        assert (kind, t_us) == ("unload", -1)
        self.records.append(fields)

    def append(self, text: str) -> None:
        """Not used."""
        raise NotImplementedError

    def say(self, text: str, priority: int = 6) -> None:
        """Not used."""
        raise NotImplementedError

    def run(self) -> None:
        """Remove all that may go, one after the other."""
        while (pidfd := self.unloader.start()) >= 0:
            assert self.unloader.busy
            assert not self.unloader.due
            assert self.unloader.is_child(pidfd)
            select.select([pidfd], [], [], 20)
            self.unloader.finish()
        assert not self.unloader.busy


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A world without modules."""
    return World(tmp_path)


def test_a_module_goes_with_its_last_device(world: World) -> None:
    """It is removed, written down with the device, and wanted again by devices that came meanwhile."""
    world.orphan("e1000")
    assert world.unloader.due
    world.run()
    assert world.records == [
        {"module": "e1000", "devpath": "/devices/e1000", "outcome": "removed", "message": ""}
    ]
    assert (world.left, world.again) == (["e1000"], ["e1000"])


def test_what_others_inserted_or_devices_want_stays(world: World) -> None:
    """A module that this daemon did not insert, or that another device asks for, is not touched."""
    world.orphan("theirs", inserted=False)
    world.orphan("shared")
    world.wanted.add("shared")
    world.run()
    assert world.records == []
    assert {path.name for path in world.sys.iterdir()} == {"theirs", "shared"}


def test_what_cannot_go_is_kept_with_the_reason(world: World) -> None:
    """modprobe's words are the reason, else its status, else why it could not be run; the next one goes anyway."""
    for module, command in (("a", "echo in use; exit 1"), ("b", "exit 3"), ("c", "no memory")):
        world.orphan(module)
        world.commands[module] = command
    world.orphan("d")
    world.run()
    assert [(one["module"], one["outcome"], one["message"]) for one in world.records] == [
        ("a", "kept", "in use"),
        ("b", "kept", "modprobe ended with status 3"),
        ("c", "kept", "cannot run modprobe: Cannot allocate memory"),
        ("d", "removed", ""),
    ]


def test_what_modprobe_takes_along_is_not_removed_twice(world: World) -> None:
    """modprobe -r takes what only this module needed: that is written down, too, and its turn does not come."""
    world.orphan("top")
    world.orphan("base")
    world.commands["top"] = f"rm {world.sys}/top {world.sys}/base"
    world.commands["base"] = "echo it came to that; exit 1"
    world.run()
    assert [(one["module"], one["outcome"]) for one in world.records] == [
        ("top", "removed"),
        ("base", "removed"),
    ]
    assert world.left == world.again == ["top", "base"]
