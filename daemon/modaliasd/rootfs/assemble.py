"""Opens what lies below a file system: arrays, volume groups, encryption, where the image has the tools for it.

What they make comes as block devices of its own, by uevents like any other. A member is opened as it comes. What takes
a person, and what is not whole, waits until nothing else is on its way, so that nobody is asked for the passphrase of
a disk that the root file system is not on.
"""

from __future__ import annotations

from modaliasd.core.root.members import LUKS, MEMBERS, Fate, Outcome
from modaliasd.linux.root.programs import NO_UDEV, find_program, run
from modaliasd.rootfs.unlock import Locks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from modaliasd.core.root.target import BlockDevice
    from modaliasd.linux.root.blockdev import BlockDevices
    from modaliasd.rootfs.daemon import Daemon

_COME = {
    # an array begins with its last member; --run is not given, since others may still come
    "linux_raid_member": ("--incremental", "--quiet", "NODE"),
    # a group that is not whole is left alone until it is
    "LVM2_member": ("vgchange", "--activate", "y", "--activationmode", "complete", "--noudevsync", "--quiet"),
}
_LAST = {
    "linux_raid_member": ("--incremental", "--run", "--scan", "--quiet"),
    "LVM2_member": ("vgchange", "--activate", "y", "--activationmode", "degraded", "--noudevsync", "--quiet"),
}


class Members:
    """The members that have come, and what has become of each. people: there is somebody to ask for a passphrase."""

    def __init__(self, daemon: Daemon, devices: BlockDevices, command_line: str, *, people: bool) -> None:
        self._daemon = daemon
        self._devices = devices
        self._locks = Locks(daemon, command_line, people=people)
        self._fates: dict[str, Fate] = {}
        self._tried: dict[str, frozenset[str]] = {}

    def came(self, device: BlockDevice) -> None:
        """Open the member, if that takes no person."""
        assert device.holds is not None
        kind = device.holds.type
        if self._lacks(device, kind):
            return
        if kind == LUKS:
            self._note(device, self._locks.came(device))
        else:
            self._run(device, kind, _COME[kind])

    def last(self, known: Iterable[BlockDevice]) -> bool:
        """Open what is not whole, then what takes a person: one step of it; False where there is nothing left to do."""
        closed = [
            one
            for one in known
            if one.holds is not None and one.holds.type in MEMBERS and not self._is_open(one)
        ]
        for kind, arguments in _LAST.items():
            members = [one for one in closed if one.holds is not None and one.holds.type == kind]
            nodes = frozenset(one.node for one in members)
            able = [one for one in members if self._outcome(one) not in (Outcome.NO_TOOL, Outcome.NO_MODULE)]
            if able and self._tried.get(kind) != nodes:
                self._tried[kind] = nodes
                for one in able[:1]:
                    self._run(one, kind, arguments)
                return True
        for one in closed:
            if one.holds is not None and one.holds.type == LUKS and self._locks.is_worth_asking(one.node):
                self._note(one, self._locks.ask(one))
                return True
        return False

    def fates(self) -> tuple[Fate, ...]:
        """Return what has become of those that nothing was made of."""
        return tuple(fate for node, fate in self._fates.items() if not self._devices.is_used(node))

    def _lacks(self, device: BlockDevice, kind: str) -> bool:
        """Look for the tool, and have the module loaded that it works with."""
        needs = MEMBERS[kind]
        if not find_program(needs.program):
            self._note(device, Fate(device.node, Outcome.NO_TOOL))
        elif kind != LUKS and (why := self._daemon.need(needs.module)):
            self._note(device, Fate(device.node, Outcome.NO_MODULE, why))
        else:
            return False
        return True

    def _run(self, device: BlockDevice, kind: str, arguments: tuple[str, ...]) -> None:
        words = [device.node if word == "NODE" else word for word in arguments]
        try:
            said = run(find_program(MEMBERS[kind].program), *words, environment=NO_UDEV).words
        except OSError as e:
            said = e.strerror or str(e)
        self._note(device, Fate(device.node, Outcome.FAILED, said.strip()))

    def _note(self, device: BlockDevice, fate: Fate | None) -> None:
        """Keep it; what is open is not told."""
        if fate is not None:
            self._fates[device.node] = fate

    def _outcome(self, device: BlockDevice) -> Outcome | None:
        fate = self._fates.get(device.node)
        return fate.outcome if fate is not None else None

    def _is_open(self, device: BlockDevice) -> bool:
        return self._devices.is_used(device.node)
