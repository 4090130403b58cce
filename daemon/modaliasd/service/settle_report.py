"""What is told at a settle: devices that no driver took, what drivers wait for, and the counts."""

from __future__ import annotations

from modaliasd.core.loading.outcome import Outcome

TYPE_CHECKING = False
if TYPE_CHECKING:
    from modaliasd.core.inventory import Inventory
    from modaliasd.core.ledger.write import Json
    from modaliasd.service.ports.loading import ReportingLoader
    from modaliasd.service.ports.outside import Clock, DriverSysfs, FirmwareLog, Writer

MOST_WARNED = (
    1000  # warnings remembered, so that they are told once: devices' names are in them, and new ones come
)


class SettleReport:
    """Writes the `settled` line and what goes with it. The kernel's log is told only of other counts of loads.

    born_us: when this life of the daemon began. `words` is the last settle in a line.
    """

    words = ""

    def __init__(
        self,
        *,
        devices: Inventory,
        loader: ReportingLoader,
        sysfs: DriverSysfs,
        kernel_log: FirmwareLog,
        writer: Writer,
        clock: Clock,
        born_us: int,
    ) -> None:
        self._devices = devices
        self._loader = loader
        self._sysfs = sysfs
        self._writer = writer
        self._clock = clock
        self._born_us = born_us
        self._said = (-1, -1, -1)
        # told of as unbound: devpath -> the drivers that did not take it
        self._unbound: dict[str, list[str]] = {}
        self._waiting = Waiting(sysfs=sysfs, kernel_log=kernel_log, writer=writer)

    def write(self, received: dict[str, Json]) -> dict[str, Json]:
        """Write all of it; gives the fields of the `settled` line.

        received: the last uevent's number, and how many were lost, recovered, unseen and dropped.
        """
        self.write_unbound()
        self._waiting.report()
        counts = self._devices.counts()
        outcomes = self._loader.outcomes()
        inserted = outcomes.count(Outcome.INSERTED) + outcomes.count(Outcome.OBSERVED)
        failed = outcomes.count(Outcome.FAILED)
        ms = (self._clock() - self._born_us) / 1000
        fields: dict[str, Json] = {
            "seqnum": received["seqnum"],
            "devices": counts.devices,
            "with_modalias": counts.with_modalias,
            "matched": counts.matched,
            "bound": counts.bound,
            "loads": inserted,
            "failed": failed,
            "ms": ms,
        }
        fields |= received
        self._writer.write("settled", fields)
        self.words = (
            f"settled: {counts.devices} devices, {counts.matched} matched, {counts.bound} bound, "
            f"{inserted} modules loaded, {failed} failed"
        )
        said = (inserted, failed, outcomes.count(Outcome.DENIED))
        if said != self._said:
            self._said = said
            self._writer.say(f"{self.words}, in {ms:.0f} ms")
        return fields

    def write_unbound(self) -> None:
        """Devices whose modules are in, and have a driver for their bus, and yet no driver has taken them.

        Each is told once, and again if it was bound meanwhile, or other drivers are there that could have taken it.
        """
        told, self._unbound = self._unbound, {}
        for entry in self._devices:
            device = entry.device
            if device.driver or not entry.modules:
                continue
            drivers = [
                driver
                for module in entry.modules
                for bus, driver in self._sysfs.drivers_of(module)
                if bus == device.subsystem
            ]
            if not drivers:
                continue
            driver = self._sysfs.driver(device.devpath)
            if driver:
                self._devices.bind(device.devpath, driver)
                continue
            self._unbound[device.devpath] = drivers
            if told.get(device.devpath) == drivers:
                continue
            self._writer.write(
                "unbound",
                {
                    "devpath": device.devpath,
                    "subsystem": device.subsystem,
                    "modalias": device.modalias,
                    "drivers": list(drivers),
                    "modules": list(entry.modules),
                },
            )


class Waiting:
    """Firmware that was not found, by the kernel's log, and probes that the kernel has put off, by /sys."""

    def __init__(self, *, sysfs: DriverSysfs, kernel_log: FirmwareLog, writer: Writer) -> None:
        self._sysfs = sysfs
        self._kernel_log = kernel_log
        self._writer = writer
        self._told: set[tuple[str, str]] = set()

    def report(self) -> None:
        """Write down what is news."""
        found = [
            ("firmware", f"{file} is missing: {who} asked for it")
            for file, who in self._kernel_log.take_missing_firmware()
        ]
        found += [
            ("deferred probe", f"{device} waits: {reason or 'the kernel does not say what for'}")
            for device, reason in self._sysfs.deferred()
        ]
        for warning in found:
            if warning in self._told:
                continue
            if len(self._told) >= MOST_WARNED:
                self._told.clear()
            self._told.add(warning)
            what, message = warning
            self._writer.write("warning", {"what": what, "message": message})
            self._writer.say(f"{what}: {message}")
