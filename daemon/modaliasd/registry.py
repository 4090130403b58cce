"""What is known of the devices, and what follows when one shows: match its modalias, want modules, write it down."""

from __future__ import annotations

from modaliasd.core.inventory import Inventory
from modaliasd.core.plan import Stage
from modaliasd.core.record import device_fields, line, to_json
from modaliasd.core.scheduler import Cause

TYPE_CHECKING = False
if TYPE_CHECKING:
    from modaliasd.core.device import Device
    from modaliasd.core.inventory import Entry
    from modaliasd.core.record import Json
    from modaliasd.world import World

BUILTIN_STAGES = (Stage.BUILTIN, Stage.BUILTIN_ALIAS)


class Registry:
    """The devices that are there, as far as walks and uevents have told.

    news: has anything happened since it was last set to False that a settle is worth being told of? A device
    that asks for something came or went, a driver took one or left it, or a load ended.
    """

    def __init__(self, world: World) -> None:
        self.devices = Inventory()
        self.news = True
        self._world = world

    def see(self, device: Device, action: str, extra: dict[str, Json], t_us: int = -1) -> Entry:
        """A device is there: match its modalias where that is news, have the modules loaded, write it down."""
        known = self.devices.find(device.devpath)
        if known is not None and known.device == device and action == "coldplug":
            return known
        entry, news = self.devices.see(device)
        self.news |= bool(device.modalias)
        t_us = self._world.clock() if t_us < 0 else t_us
        parts = line("device", t_us, device_fields(device, action) | extra)
        if news:
            matches = self._want_modules(entry)
            parts = f'{parts[:-2]},"matches":{to_json(matches)}}}\n'
        self._world.ledger.append(parts)
        return entry

    def bind(self, device: Device, action: str, driver: str, extra: dict[str, Json], t_us: int) -> None:
        """A driver has taken the device (`bind`) or left it (`unbind`)."""
        self.news = True
        self.devices.bind(device.devpath, driver if action == "bind" else "")
        self._world.write("device", device_fields(device._replace(driver=driver), action) | extra, t_us)

    def remove(self, device: Device, extra: dict[str, Json], t_us: int = -1) -> None:
        """The device has gone."""
        self.devices.remove(device.devpath)
        self.news |= bool(device.modalias)
        self._world.write("device", device_fields(device, "remove") | extra, t_us)

    def forget_gone(self, seen: set[str], walk: int) -> None:
        """A walk has ended: of the devices that it did not meet, those have gone that /sys does not have."""
        missed = [entry.device for entry in self.devices if entry.device.devpath not in seen]
        for device in missed:
            if not self._world.sysfs.exists(device.devpath):
                self.remove(device, {"walk": walk})

    def _want_modules(self, entry: Entry) -> list[Json]:
        """Look the device's modalias up and have done what the answer says; gives the matches for the ledger."""
        device = entry.device
        plan = self._world.resolver.resolve(device.modalias)
        built_in = plan.stage in BUILTIN_STAGES
        written: list[Json] = []
        for match in plan.matches:
            fields: dict[str, Json] = {"alias": match.alias, "line": match.line, "module": match.module}
            if match.file != "modules.alias":
                fields["file"] = match.file
            if built_in:
                fields["builtin"] = True
            written.append(fields)
        if not built_in:
            entry.modules = tuple(match.module for match in plan.matches)
            cause = Cause(device.devpath, device.subsystem, device.modalias)
            self._world.loader.want(plan, cause, device.modalias)
        return written

    def want_by_name(self, name: str, who: str) -> None:
        """Load what a name or an alias stands for, because somebody asked for it."""
        plan = self._world.resolver.resolve(name)
        if plan.stage is Stage.NONE:
            message = f"nothing is called {name}, by name or by alias"
            self._world.write("warning", {"what": who, "message": message})
        self._world.loader.want(plan, Cause(request=who), "")

    def write_unbound(self) -> None:
        """Devices whose modules are in, and have a driver for their bus, and yet no driver has taken them."""
        sysfs = self._world.sysfs
        for entry in self.devices:
            device = entry.device
            if device.driver or not entry.modules:
                continue
            drivers = [
                driver
                for module in entry.modules
                for bus, driver in sysfs.drivers_of(module)
                if bus == device.subsystem
            ]
            if not drivers:
                continue
            driver = sysfs.driver(device.devpath)
            if driver:
                self.devices.bind(device.devpath, driver)
                continue
            self._world.write(
                "unbound",
                {
                    "devpath": device.devpath,
                    "subsystem": device.subsystem,
                    "modalias": device.modalias,
                    "drivers": list(drivers),
                    "modules": list(entry.modules),
                },
            )
