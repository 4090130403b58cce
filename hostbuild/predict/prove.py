"""Shows that an image drives a machine as another boot did: the same devices, each with the same driver. Pure.

Devices are known across boots as in hostbuild.ledger.diff.
"""

from dataclasses import dataclass

from hostbuild.ledger.diff import Change, keyed
from modaliasd.core.ledger.history import DeviceHistory, History


@dataclass(frozen=True, slots=True)
class Proof:
    """What became of the devices that had a driver.

    same: how many have the same again. changed: before, after: the drivers' names ("" for none). gone: the devpaths of
    those that are not there. plugged: those of them that came after the first boot had settled: late, or plugged in.
    """

    same: int
    changed: tuple[Change, ...]
    gone: tuple[str, ...]
    plugged: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Have all of them the same driver?"""
        return self.same > 0 and not self.changed and not self.gone


def prove(before: History, after: History) -> Proof:
    """Compare two boots' drivers."""
    old, new = keyed(before.devices.values()), keyed(after.devices.values())
    changed: list[Change] = []
    gone: list[str] = []
    same = 0
    for key, device in sorted(old.items()):
        now = new.get(key)
        if not device.driver:
            continue
        if now is None:
            gone.append(device.devpath)
        elif now.driver != device.driver:
            changed.append(Change(device.devpath, device.driver, now.driver))
        else:
            same += 1
    plugged = [devpath for devpath in gone if _came_late(before, before.devices[devpath])]
    return Proof(same, tuple(changed), tuple(gone), tuple(plugged))


def _came_late(history: History, device: DeviceHistory) -> bool:
    """Did it, or something that it hangs on, come after the first settle?"""
    while not device.hotplugged:
        if device.parent not in history.devices:
            return False
        device = history.devices[device.parent]
    return True
