"""What lies below a file system: rootfs/assemble.py and unlock.py, with tools that do what the test says."""

from typing import Any

import pytest

from modaliasd.core.root.members import Fate, Outcome
from modaliasd.core.root.superblock import Superblock
from modaliasd.core.root.target import BlockDevice
from modaliasd.linux.process import Ended
from modaliasd.linux.root import consoles
from modaliasd.linux.root.blockdev import BlockDevices
from modaliasd.rootfs import assemble, unlock
from modaliasd.rootfs.assemble import Members
from modaliasd.rootfs.daemon import Daemon

UUID = "11111111-2222-3333-4444-555555555555"
OTHER = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
KEY = "/etc/cryptsetup-keys.d"


def disk(kind: str, node: str = "/dev/vda", uuid: str = UUID) -> BlockDevice:
    """A member."""
    return BlockDevice(node, size=1 << 20, holds=Superblock(kind, uuid, "vault"))


class World(BlockDevices, Daemon):
    """Devices, a daemon, tools and people. secret: what opens any disk; typed: what people type, in this order."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        BlockDevices.__init__(self, "/nowhere")
        Daemon.__init__(self)
        self.open: set[str] = set()
        self.ran: list[str] = []
        self.tools = ["mdadm", "lvm", "cryptsetup"]
        self.lacking = ""
        self.files: dict[str, bytes] = {}
        self.typed: list[bytes] = []
        self.asked: list[str] = []
        self.begins: list[str] = []  # words of commands by which arrays and groups begin
        for module in (assemble, unlock):
            patch.setattr(module, "find_program", lambda name: name if name in self.tools else "")
            patch.setattr(module, "run", self.run)
        patch.setattr(unlock, "is_there", lambda path: path in self.files)
        patch.setattr(unlock, "InMemory", _Memory)
        patch.setattr(consoles, "ask", self._ask)
        patch.setattr(consoles, "show", self.asked.extend)

    def is_used(self, node: str) -> bool:
        """Is anything on it?"""
        return node in self.open

    def need(self, module: str) -> str:
        """Load it."""
        return "it is denied" if module == self.lacking else ""

    def tell(
        self, outcome: str, details: tuple[str, ...] = (), *, leave: bool = False, **fields: str
    ) -> None:
        """Do nothing."""

    def run(self, program: str, *words: str, environment: Any = ()) -> Ended:
        """Do what the tool would."""
        assert environment
        line = " ".join([program, *words])
        self.ran.append(line)
        if program != "cryptsetup":
            if any(word in line for word in self.begins):
                self.open.add("/dev/vda")
            return Ended(0, "said so\n")
        path = words[words.index("--key-file") + 1]
        key = self.files[path] if path in self.files else bytes.fromhex(path.partition(":")[2])
        if key == b"secret":
            self.open.add(words[-2])
        return Ended(0 if key == b"secret" else 2, "")

    def _ask(self, question: str) -> bytes | None:
        self.asked.append(question)
        return self.typed.pop(0) if self.typed else None


class _Memory:
    """Gives a path that says what is in it."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __enter__(self) -> str:
        return f"memory:{self._data.hex()}"

    def __exit__(self, *_error: object) -> None:
        pass


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """A world with all tools."""
    return World(monkeypatch)


def members(world: World, line: str = "", *, people: bool = True) -> Members:
    """The members of a boot with these words."""
    return Members(world, world, line, people=people)


def to_the_end(opened: Members, *devices: BlockDevice) -> int:
    """Have all come, then do the last until there is nothing left; how often that was."""
    for device in devices:
        opened.came(device)
    times = 0
    while opened.last(devices):
        times += 1
        assert times < 20, "it never ends"
    return times


def test_half_an_array_is_begun_at_last(world: World) -> None:
    """First with what has come, without force; only when nothing is on its way without what is missing, and once."""
    world.begins = ["--run"]
    opened = members(world)
    assert to_the_end(opened, disk("linux_raid_member")) == 1
    assert world.ran == ["mdadm --incremental --quiet /dev/vda", "mdadm --incremental --run --scan --quiet"]
    assert opened.fates() == ()


def test_a_group_that_never_is_whole(world: World) -> None:
    """What its tool said is kept for the diagnosis."""
    opened = members(world)
    assert to_the_end(opened, disk("LVM2_member")) == 1
    assert ["complete" in line for line in world.ran] == [True, False]
    assert opened.fates() == (Fate("/dev/vda", Outcome.FAILED, "said so"),)


@pytest.mark.parametrize("kind", ["linux_raid_member", "LVM2_member", "crypto_LUKS"])
def test_without_the_tool_or_the_module_nothing_is_run(world: World, kind: str) -> None:
    """An image that lacks either: nobody is asked for anything, and the outcome says which."""
    world.tools = []
    opened = members(world)
    assert to_the_end(opened, disk(kind)) == 0
    assert opened.fates() == (Fate("/dev/vda", Outcome.NO_TOOL),)
    world.tools = ["mdadm", "lvm", "cryptsetup"]
    world.lacking, world.typed = (
        {"linux_raid_member": "md_mod", "LVM2_member": "dm_mod"}.get(kind, "dm_crypt"),
        [b"x"],
    )
    opened = members(world)
    to_the_end(opened, disk(kind))
    assert opened.fates() == (Fate("/dev/vda", Outcome.NO_MODULE, "it is denied"),)
    assert world.ran == []


def test_a_key_of_the_images_asks_nobody(world: World) -> None:
    """The file of systemd's place by the disk's name, or that of rd.luks.key=."""
    for path, line, name in (
        (f"{KEY}/luks-{UUID}.key", "", f"luks-{UUID}"),
        (f"{KEY}/root.key", f"rd.luks.name={UUID}=root", "root"),
        ("/my.key", "rd.luks.key=/my.key", f"luks-{UUID}"),
    ):
        world.open.clear()
        world.files = {path: b"secret"}
        opened = members(world, line)
        assert to_the_end(opened, disk("crypto_LUKS")) == 0
        assert world.ran.pop().endswith(f"--key-file {path} /dev/vda {name}")
        assert opened.fates() == ()
    assert world.asked == []


def test_a_passphrase_is_asked_for_three_times(world: World) -> None:
    """Then it is enough; and once it fits, no more."""
    world.typed = [b"a", b"b", b"secret"]
    opened = members(world)
    assert to_the_end(opened, disk("crypto_LUKS")) == 3
    assert opened.fates() == ()
    assert ["does not open it" in question for question in world.asked] == [False, True, True]
    assert "/dev/vda (vault)" in world.asked[0]
    world.open.clear()
    world.typed = [b"a", b"b", b"c", b"secret"]
    opened = members(world)
    assert to_the_end(opened, disk("crypto_LUKS")) == 3
    assert opened.fates() == (Fate("/dev/vda", Outcome.WRONG_KEY, "the passphrase"),)


def test_enter_goes_on_without(world: World) -> None:
    """An empty line, or nobody there, ends the asking for this disk; a key that does not fit is no end."""
    world.files = {f"{KEY}/luks-{UUID}.key": b"old"}
    world.typed = [b""]
    opened = members(world)
    assert to_the_end(opened, disk("crypto_LUKS")) == 1
    assert len(world.asked) == 1
    assert opened.fates()[0].outcome is Outcome.NO_KEY


def test_one_passphrase_for_two_disks(world: World) -> None:
    """What has opened one is tried on the next, which asks only if that does not fit."""
    world.typed = [b"secret"]
    opened = members(world)
    assert to_the_end(opened, disk("crypto_LUKS"), disk("crypto_LUKS", "/dev/vdb", OTHER)) == 2
    assert world.open == {"/dev/vda", "/dev/vdb"}
    assert len(world.asked) == 1


def test_who_is_not_to_be_asked(world: World) -> None:
    """A boot that ends by itself, a disk that the words leave out, a header without a UUID."""
    opened = members(world, people=False)
    assert to_the_end(opened, disk("crypto_LUKS")) == 0
    assert opened.fates()[0].outcome is Outcome.NO_KEY
    opened = members(world, f"rd.luks.uuid={OTHER}")
    assert to_the_end(opened, disk("crypto_LUKS")) == 0
    assert opened.fates()[0].outcome is Outcome.NOT_WANTED
    opened = members(world)
    assert to_the_end(opened, disk("crypto_LUKS", uuid="../../x")) == 0
    assert opened.fates()[0].outcome is Outcome.FAILED
    assert world.ran == world.asked == []
