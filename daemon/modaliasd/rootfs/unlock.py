"""Opens encrypted disks (LUKS) with cryptsetup: with a key of the image's, or a passphrase that people give."""

from __future__ import annotations

from modaliasd.core.fasttypes import NamedTuple
from modaliasd.core.printable import printable
from modaliasd.core.root.luks import KEYS, is_safe_uuid, parse_luks
from modaliasd.core.root.members import LUKS, MEMBERS, Fate, Outcome
from modaliasd.linux.config import is_there
from modaliasd.linux.root import consoles
from modaliasd.linux.root.blockdev import read_text
from modaliasd.linux.root.keys import InMemory
from modaliasd.linux.root.programs import NO_UDEV, find_program, run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from modaliasd.core.root.target import BlockDevice
    from modaliasd.rootfs.daemon import Daemon

TRIES = 3
_NO_PERMISSION = 2  # cryptsetup(8): bad passphrase


class _Lock(NamedTuple):
    """An encrypted disk that is closed. tries: passphrases it has had. fresh: not tried with another disk's yet."""

    device: BlockDevice
    uuid: str
    tries: int = 0
    fresh: bool = True


class Locks:
    """The encrypted disks that have come. people: there is somebody to ask."""

    def __init__(self, daemon: Daemon, command_line: str, *, people: bool) -> None:
        self._daemon = daemon
        self._words = parse_luks(command_line)
        self._people = people
        self._locks: dict[str, _Lock] = {}
        self._typed = b""  # what opened one is tried on the others, too
        for problem in self._words.problems:
            consoles.show([f"modaliasd: {printable(problem)}"])

    def came(self, device: BlockDevice) -> Fate | None:
        """Open it, if the image has a key."""
        assert device.holds is not None
        uuid = device.holds.uuid
        self._locks.pop(device.node, None)
        if not is_safe_uuid(uuid):
            return Fate(device.node, Outcome.FAILED, "its header has no UUID")
        if not self._words.wants(uuid):
            return Fate(device.node, Outcome.NOT_WANTED)
        lock = _Lock(device, uuid)
        named = self._words.key_of(uuid)
        key = named or f"{KEYS}/{self._words.name_of(uuid)}.key"
        if named or is_there(key):
            fate = self._open(lock, key, f"the key {key}")
            if fate is None:
                return None
            self._locks[device.node] = lock
            return fate
        self._locks[device.node] = lock
        return Fate(
            device.node, Outcome.NO_KEY, "" if self._people else "modaliasd.poweroff= leaves nobody to ask"
        )

    def is_worth_asking(self, node: str) -> bool:
        """Tell whether people may be asked for its passphrase."""
        return self._people and node in self._locks

    def ask(self, device: BlockDevice) -> Fate | None:
        """Ask for its passphrase, and try it: once."""
        lock = self._locks[device.node]
        if self._typed and lock.fresh:
            fate = self._try(lock, self._typed)
            self._keep(lock._replace(fresh=False), fate)
            return fate
        typed = self._question(lock)
        if not typed:
            del self._locks[device.node]
            return Fate(device.node, Outcome.WRONG_KEY if lock.tries else Outcome.NO_KEY, "the passphrase")
        fate = self._try(lock, typed)
        if fate is None:
            self._typed = typed
        self._keep(lock._replace(tries=lock.tries + 1), fate)
        return fate

    def _question(self, lock: _Lock) -> bytes:
        device = lock.device
        label = device.holds.label if device.holds is not None else ""
        called = printable(f"{device.node} ({label})" if label else device.node)
        message = f"{device.node} is encrypted, and waits for its passphrase."
        self._daemon.tell("waiting", device=device.node, reason="locked", message=message)
        again = "That does not open it.\r\n" if lock.tries else ""
        return consoles.ask(f"{again}Passphrase for {called} (Enter: go on without): ") or b""

    def _try(self, lock: _Lock, typed: bytes) -> Fate | None:
        with InMemory(typed) as path:
            return self._open(lock, path, "the passphrase")

    def _keep(self, lock: _Lock, fate: Fate | None) -> None:
        """Keep it for another try, if there is one."""
        if fate is None or fate.outcome is not Outcome.WRONG_KEY or lock.tries == TRIES:
            del self._locks[lock.device.node]
        else:
            self._locks[lock.device.node] = lock

    def _open(self, lock: _Lock, key: str, called: str) -> Fate | None:
        """Return why it is not open, None where it is."""
        node = lock.device.node
        needs = MEMBERS[LUKS]
        if why := self._daemon.need(needs.module):
            return Fate(node, Outcome.NO_MODULE, why)
        name = node.removeprefix("/dev/").replace("/", "!")
        read_only = ["--readonly"] if read_text(f"/sys/class/block/{name}/ro").strip() == "1" else []
        words = ["open", "--type", "luks", "--batch-mode", *read_only, "--key-file", key]
        try:
            ended = run(
                find_program(needs.program), *words, node, self._words.name_of(lock.uuid), environment=NO_UDEV
            )
        except OSError as e:
            return Fate(node, Outcome.FAILED, e.strerror or str(e))
        if ended.status == 0:
            return None
        if ended.status == _NO_PERMISSION:
            return Fate(node, Outcome.WRONG_KEY, called)
        return Fate(node, Outcome.FAILED, ended.words.strip())
