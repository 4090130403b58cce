"""What a test holds: a running guest that devices are plugged into, asked about, and that tells what became of them.

def test_a_disk(guest: Guest) -> None:
    disk = guest.plug("nvme", serial="1")
    guest.expect_bound(disk, "nvme")
    assert guest.run("cat /sys/block/nvme0n1/size").stdout.strip() == "131072"
    guest.unplug(disk)

Methods that wait have a time limit in seconds of this machine, an emulated guest's included. Errors are hostbuild's
(hostbuild.errors) or, of what a test expects, AssertionError; they come from the test's own line.
"""

import fnmatch
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from hostbuild.errors import GuestError, GuestTimeoutError, UsageError
from hostbuild.ledger.stream import Record
from hostbuild.near import did_you_mean, listed
from hostbuild.qemu.device import Bus, parse_device
from hostbuild.qemu.vm import VM
from hostbuild.testing import answers
from hostbuild.testing.execute import Completed, execute
from hostbuild.testing.plugged import Plugged, root_among
from hostbuild.testing.readable import readable
from modaliasd.core.ledger.answers.explain import WhyModule, find_devices
from modaliasd.core.ledger.history import DeviceHistory, History, history_of

_T = TypeVar("_T")

_SETTLE_S = 120.0
_NOT_IN_TIME = 1  # what `modaliasd settle` ends with then
_LOOK_S = 0.2  # how often the ledger is read anew while something is waited for


class Guest:
    """A guest that has settled.

    vm: the machine itself, for what has no method here. machine: its hardware (`vm.machine`).
    """

    def __init__(self, vm: VM) -> None:
        """Take a machine that runs and has settled, with the daemon and the agent in it."""
        self.vm = vm
        self.machine = vm.machine
        self.spoilt = ""  # why another test cannot have this guest: something cannot be undone
        self._plugged: dict[str, Plugged] = {}

    # Devices

    @readable
    def plug(
        self,
        device: str,
        *,
        id: str = "",  # noqa: A002 - QEMU's word
        bus: str = "",
        wait: bool = True,
        timeout: float = 60.0,
        **properties: str | int | bool,
    ) -> Plugged:
        """Plug a device in and wait until the guest has seen it; its driver may still be on its way.

        device: QEMU's name of it, as --device takes it ("nvme", "nvme,serial=1"); properties: QEMU's, and `size` and
        `file` of a disk. id: made up where "". bus: where "", a PCI device goes to a free PCI Express port. wait: False
        comes back at once, for tests that unplug before anybody has seen it.
        Raises InputError for a device or a property that QEMU does not have, GuestError where there is no place for it,
        GuestTimeoutError if the guest does not see it.
        """
        given = parse_device(device)
        named = {**dict(given.props), **properties}
        name, place = str(named.pop("id", id)), str(named.pop("bus", bus))
        since = len(self.vm.ledger)
        plugged = Plugged(
            self.vm.device_add(given.driver, id=name, bus=place, **named), given.driver, given.bus, since
        )
        self._plugged[plugged.id] = plugged
        if wait:
            self._until(lambda: self._find_root(plugged), timeout, f"the guest did not see {plugged}")
        return plugged

    @readable
    def unplug(self, device: Plugged | str | None = None, *, timeout: float = 60.0) -> None:
        """Ask the guest to let a device go, and wait until it has gone, from the ledger too.

        device: what `plug` gave, or an id; None takes the last one that was plugged in and is still there.
        Raises GuestTimeoutError if the guest keeps it, UsageError if there is none.
        """
        self._unplug(self._id_of(device), timeout)

    def _unplug(self, name: str, timeout: float) -> None:
        plugged = self._plugged.get(name)
        if plugged is not None:
            self._find_root(plugged)
        try:
            self.vm.device_del(name, timeout=timeout)
        except GuestTimeoutError:
            self.spoilt = f"{plugged or name} did not go"
            raise
        if plugged is None:
            self.spoilt = f"{name}, which was there at the boot, has gone"
            return
        del self._plugged[name]
        if plugged.root:
            gone = f"{plugged} has gone from QEMU, but the guest did not say so"
            self._until(lambda: not self._present(plugged), timeout, gone)

    @property
    def plugged(self) -> list[Plugged]:
        """What tests have plugged in and not taken out, in order."""
        return list(self._plugged.values())

    def undo(self, *, timeout: float = 60.0) -> None:
        """Take out what has been plugged in, the last one first. What does not go makes the guest `spoilt`."""
        for plugged in reversed(self.plugged):
            with suppress(GuestError):
                self._unplug(plugged.id, timeout)
                continue
            self.spoilt = self.spoilt or f"{plugged} did not go"
            return

    @readable
    def devices(self, device: Plugged | str) -> list[DeviceHistory]:
        """Return the guest's devices that a plugged device is made of, the first one first, as the ledger has them now.

        device: what `plug` gave, or a name: a devpath, "0000:00:1f.2", "/dev/sda", "eth0", an id of the machine's.
        """
        return self._devices(device, self.history)

    # What becomes of them

    @readable
    def settle(self, *, timeout: float = _SETTLE_S) -> None:
        """Wait until everything there is has been dealt with: each uevent read, each load ended.

        Raises GuestTimeoutError.
        """
        self._settle(timeout)

    def _settle(self, timeout: float) -> None:
        line = f"cut -d ' ' -f 1 /proc/uptime; modaliasd settle --timeout {timeout:g}"
        done = execute(self.vm, line, timeout=timeout + 30)
        asked, _, said = done.stdout.partition("\n")
        if done.status == 0:
            # The answer and the ledger come over different lines: its record may still be on its way.
            asked_us = float(asked) * 1e6
            late = "the guest has settled, but its ledger's record of that did not come"
            self._until(lambda: self._settled_since(asked_us), 30.0, late)
            return
        why = (done.stderr or said).strip() or f"status {done.status}"
        if done.status == _NOT_IN_TIME:
            raise GuestTimeoutError(f"the guest did not settle within {timeout:g} s: {why}")
        raise GuestError(f"the guest cannot settle: {why}")

    def _settled_since(self, asked_us: float) -> bool:
        return any(
            record["type"] == "settled" and record.get("t_us", 0) >= asked_us
            for record in reversed(self.vm.ledger)
        )

    @readable
    def expect_bound(self, device: Plugged | str, driver: str, *, timeout: float = 60.0) -> DeviceHistory:
        """Wait until a driver has a device, or one of those below it, and return that device.

        device: as in `devices`. driver: by its name in /sys ("nvme", "usb-storage", "sd"; `-` and `_` alike).
        Raises AssertionError, which tells what the device asked for and what became of that.
        """

        def bound() -> DeviceHistory | None:
            there = self._devices(device, self.history)
            return next((one for one in there if _same(one.driver, driver)), None)

        found = self._until(bound, timeout)
        if found is None:
            raise AssertionError(
                answers.not_bound(self.history, self._devices(device, self.history), str(device), driver)
            )
        return found

    @readable
    def expect_unbound(self, device: Plugged | str, *, timeout: float = 60.0) -> None:
        """Settle, and fail if any driver has the device or one of those below it.

        A PCI port or a USB hub above it does not count.
        """
        self._settle(timeout)
        driven = [one for one in self._devices(device, self.history) if one.driver]
        if driven:
            raise AssertionError(
                f"{device} was to have no driver, but {listed(f'{one.driver} drives {one.name}' for one in driven)}"
            )

    @readable
    def expect_node(self, device: Plugged | str, pattern: str = "*", *, timeout: float = 60.0) -> str:
        """Wait for a node or a network interface of a device, and return it: "/dev/sda", "eth0".

        pattern: of a shell, for the whole name ("/dev/sd?", "eth*").
        """

        def node() -> str | None:
            there = self._devices(device, self.history)
            return next((d.node for d in there if d.node and fnmatch.fnmatchcase(d.node, pattern)), None)

        found = self._until(node, timeout)
        if found is None:
            nodes = [one.node for one in self._devices(device, self.history) if one.node]
            has = f"it has {listed(nodes)}" if nodes else "it has none"
            raise AssertionError(f"{device} got no node {pattern} within {timeout:g} s: {has}")
        return found

    @readable
    def why(self, module: str) -> WhyModule:
        """Return why a module is there: who asked, by which alias, what it needed, what it drives.

        Settles first: a module that a driver has already bound with is in the ledger once its modprobe has ended.
        Raises AssertionError for a module that is not there, which tells why not.
        """
        self._settle(_SETTLE_S)
        found = answers.why(self.history, module)
        if found is None:
            told = execute(self.vm, ["modaliasd", "why-not", module], timeout=60)
            raise AssertionError(told.stdout.strip() or told.stderr.strip() or f"{module}: not in the ledger")
        return found

    # Commands

    @readable
    def run(self, command: str | Sequence[str], *, check: bool = True, timeout: float = 60.0) -> Completed:
        """Run a command in the guest: a line for its shell, or an argument list; status, stdout, stderr.

        check: fail for a status other than 0. timeout: seconds; a command that does not end raises GuestTimeoutError.
        """
        try:
            done = execute(self.vm, command, timeout=timeout)
        except GuestTimeoutError:
            self.spoilt = f"the command {command!r} did not end"
            raise
        if check and done.status != 0:
            said = "\n".join(filter(None, (done.stdout.strip(), done.stderr.strip()))) or "it wrote nothing"
            raise AssertionError(f"in the guest, `{done.command}` ended with status {done.status}:\n{said}")
        return done

    # What has happened

    @property
    def ledger(self) -> list[Record]:
        """The ledger's records so far (docs/ledger.md): who asked for what, and what became of it."""
        return list(self.vm.ledger)

    @property
    def history(self) -> History:
        """The ledger read back: devices, loads, settles."""
        return history_of(self.vm.ledger)

    @readable
    def dmesg(self) -> str:
        """Return the kernel's log; of a guest that has ended, its console."""
        if not self.vm.running:
            return self.vm.console
        return execute(self.vm, "dmesg", timeout=30).stdout

    @readable
    def expect_healthy(self) -> None:
        """Fail if the kernel has complained: BUG, WARNING, Oops, a hung task, a KASAN report."""
        complaint = answers.complaint_in(self.dmesg())
        if complaint:
            raise AssertionError("\n".join(["the guest's kernel complains:", *complaint]))

    # Inside

    def _id_of(self, device: Plugged | str | None) -> str:
        if isinstance(device, Plugged):
            return device.id
        there = list(self._plugged)
        if device is None:
            if not there:
                raise UsageError("nothing is plugged in that could be unplugged")
            return there[-1]
        known = [*there, *(name for one in self.machine.devices if (name := one.get("id")))]
        if device not in known:
            names = f"; there are {listed(known)}" if known else ""
            raise UsageError(f"no device has the id {device!r}{did_you_mean(device, known) or names}")
        return device

    def _find_root(self, wanted: Plugged) -> str:
        """Find what a device shows as, and those plugged in before it, whose records come first."""
        for plugged in [*self._plugged.values(), wanted]:
            if not plugged.root:
                name = answers.pci_name(self.vm, plugged.id) if plugged.bus is Bus.PCI else ""
                records = self.vm.ledger[plugged.since :]
                plugged.root = root_among(records, plugged, self._plugged.values(), name)
            if plugged is wanted:
                break
        return wanted.root

    def _devices(self, device: Plugged | str, history: History) -> list[DeviceHistory]:
        if isinstance(device, Plugged):
            root = self._find_root(device)
            roots = [root] if root else []
        elif device in self._plugged:
            return self._devices(self._plugged[device], history)
        else:
            roots = [
                one.devpath for one in find_devices(history, answers.pci_name(self.vm, device) or device)
            ]
        return answers.below(history, roots)

    def _present(self, plugged: Plugged) -> bool:
        device = self.history.devices.get(plugged.root)
        return device is not None and device.present

    def _until(self, done: Callable[[], _T], timeout: float, complaint: str = "") -> _T | None:
        """Return what `done` gives once that is true, asked whenever the ledger has grown; at the limit None, or raise
        GuestTimeoutError with the complaint.
        """
        deadline = time.monotonic() + timeout
        while True:
            seen = len(self.vm.ledger)
            if found := done():
                return found
            left = deadline - time.monotonic()
            if left <= 0:
                break
            with suppress(GuestTimeoutError):
                self.vm.wait_for(_anything, timeout=left, since=seen)
                time.sleep(min(_LOOK_S, left))  # more follows at once
        if complaint:
            raise GuestTimeoutError(f"{complaint} within {timeout:g} s")
        return None


def _anything(_record: object) -> bool:
    return True


def _same(driver: str, wanted: str) -> bool:
    return driver.replace("-", "_") == wanted.replace("-", "_")
