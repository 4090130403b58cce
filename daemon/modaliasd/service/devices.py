"""What is known of the devices, and what follows when one shows: match its modalias, want modules, write it down."""

from __future__ import annotations

from modaliasd.core.device import Phase
from modaliasd.core.inventory import Arrivals, Inventory
from modaliasd.core.kmod.plan import Stage
from modaliasd.core.ledger.write import device_fields, line, to_json
from modaliasd.core.loading.cause import Cause
from modaliasd.linux.process import is_safe_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from modaliasd.core.device import Device
    from modaliasd.core.inventory import InventoryEntry
    from modaliasd.core.kmod.modules_load import Listed
    from modaliasd.core.ledger.write import Json
    from modaliasd.service.ports.loading import WantingLoader
    from modaliasd.service.ports.outside import AliasTable, Clock, DeviceSysfs, Lookup, Writer
    from modaliasd.service.ports.parts import DoorGate, Listener

SHARING = ("9pnet_virtio", "virtiofs")  # drivers of what a root file system can be, and is no block device
BUILTIN_STAGES = (Stage.BUILTIN, Stage.BUILTIN_ALIAS)


class Registry:
    """The devices that are there, as far as walks and uevents have told.

    listener: hears when a device that asks for something came or went, or a driver took one or left it.
    has_modules: does the running kernel have any here?
    """

    def __init__(
        self,
        *,
        sysfs: DeviceSysfs,
        aliases: AliasTable,
        resolver: Lookup,
        gate: DoorGate,
        loader: WantingLoader,
        listener: Listener,
        writer: Writer,
        clock: Clock,
        has_modules: bool = True,
    ) -> None:
        self.devices = Inventory()
        # block devices (with each of their changes) and what shares directories, as their drivers took them
        self.arrivals = Arrivals()
        self.found = 0  # times that a walk met, or missed, what events had not told of
        self._sysfs = sysfs
        self._aliases = aliases
        self._resolver = resolver
        self._gate = gate
        self._loader = loader
        self._listener = listener
        self._writer = writer
        self._clock = clock
        # to be unloaded if nothing wants them -> the device that had them last
        self._orphans: dict[str, str] = {}
        self._left: set[str] = set()  # modules that were removed since a device asked for them
        # Of the alias index, as far as the ledger knows. Without modules there is none, and that is told as such.
        self._generation = 0 if has_modules else aliases.generation

    def tell_of_index(self) -> None:
        """Write down what is wrong with the index of aliases, if it is another than the ledger knows of."""
        index = self._aliases
        if index.generation == self._generation:
            return
        self._generation = index.generation
        if index.message:
            message = f"{index.message}; built from modules.alias"
            self._writer.write("warning", {"what": "alias index", "message": message})
        for skipped in index.warnings:
            message = f"skipped: {skipped.message}"
            self._writer.write("warning", {"what": skipped.file, "line": skipped.line, "message": message})

    def start_over(self) -> None:
        """Forget all devices, for the index of aliases was damaged: a walk looks all of them up again."""
        self.tell_of_index()
        self.devices.clear()

    def see(self, device: Device, action: str, extra: dict[str, Json], t_us: int = -1) -> InventoryEntry:
        """Handle a device that is there: match its modalias where that is news, load the modules, write it down."""
        known = self.devices.find(device.devpath)
        if known is not None and known.device == device and action == "coldplug":
            return known
        self.found += action == "coldplug"
        entry, news = self.devices.see(device)
        if device.subsystem == "block" or device.driver in SHARING:
            self.arrivals.note(device.devname or device.devpath)
        if device.modalias:
            self._listener.happened()
        if action == "add":
            news = news or any(module in self._left for module in entry.modules)
        t_us = self._clock() if t_us < 0 else t_us
        parts = line("device", t_us, device_fields(device, action) | extra)
        if news:
            plugged = known is None and action == "add" and self._gate.phase is not Phase.COLDPLUG
            matches = self._want_modules(entry, t_us, try_again=plugged)
            parts = f'{parts[:-2]},"matches":{to_json(matches)}}}\n'
        self._writer.append(parts)
        return entry

    def bind(self, device: Device, action: str, driver: str, extra: dict[str, Json], t_us: int) -> None:
        """Handle a driver that has taken the device (`bind`) or left it (`unbind`)."""
        self._listener.happened()
        if driver in SHARING:
            self.arrivals.note(device.devpath)
        self.devices.bind(device.devpath, driver if action == "bind" else "")
        self._writer.write("device", device_fields(device._replace(driver=driver), action) | extra, t_us)

    def remove(self, device: Device, extra: dict[str, Json], t_us: int = -1) -> None:
        """Handle a device that has gone."""
        entry = self.devices.remove(device.devpath)
        self.arrivals.forget(device.devname or device.devpath)
        if device.modalias:
            self._listener.happened()
        if entry is not None and self._gate.unloads(device.subsystem):
            self._orphans |= dict.fromkeys(entry.modules, device.devpath)
        self._writer.write("device", device_fields(device, "remove") | extra, t_us)

    def forget_gone(self, seen: set[str], walk: int) -> None:
        """End a walk: of the devices that it did not meet, those have gone that /sys does not have."""
        missed = [entry.device for entry in self.devices if entry.device.devpath not in seen]
        for device in missed:
            if not self._sysfs.exists(device.devpath):
                self.found += 1
                self.remove(device, {"walk": walk})

    def take_orphans(self) -> dict[str, str]:
        """Modules to be unloaded if nothing wants them -> the device that had them last; each is given once."""
        orphans, self._orphans = self._orphans, {}
        return orphans

    def has_orphans(self) -> bool:
        """Return whether there are any."""
        return bool(self._orphans)

    def module_left(self, module: str) -> None:
        """Handle a module's removal: the next `add` of a device that it is for has it loaded again."""
        self._left.add(module)
        self._loader.left(module)

    def is_wanted(self, module: str) -> bool:
        """Return whether there is a device whose modalias matches the module."""
        return any(module in entry.modules for entry in self.devices)

    def want_again(self, module: str) -> None:
        """Handle a module that has been unloaded: devices that came meanwhile have it loaded again."""
        for entry in self.devices:
            if module in entry.modules:
                self._want_modules(entry, self._clock())

    def _want_modules(self, entry: InventoryEntry, t_us: int, *, try_again: bool = False) -> list[Json]:
        """Look the device's modalias up and have done what the answer says; gives the matches for the ledger.

        try_again: loads that failed before may work now, for a device that has just been plugged in.
        """
        device = entry.device
        plan = self._resolver.resolve(device.modalias)
        self.tell_of_index()
        built_in = plan.stage in BUILTIN_STAGES
        written: list[Json] = [match.fields() for match in plan.matches]
        if not built_in:
            plan = self._gate.judge(plan, device, t_us)
            entry.modules = tuple(match.module for match in plan.matches)
            self._left.difference_update(entry.modules)
            if try_again:
                self._loader.forget_failures(entry.modules)
            cause = Cause(device.devpath, device.subsystem, device.modalias)
            self._loader.want(plan, cause, device.modalias)
        return written

    def may_load(self, word: str) -> bool:
        """Return whether the kernel may have what it asks for by this word loaded."""
        return self._gate.may_load(self._resolver.resolve(word))

    def want_by_name(self, name: str, who: str, *, first: bool = False) -> tuple[str, ...]:
        """Load what a name or an alias stands for, because somebody asked for it; gives the modules that go in."""
        plan = self._resolver.resolve(name)
        if plan.stage is Stage.NONE:
            message = f"nothing is called {name}, by name or by alias"
            self._writer.write("warning", {"what": who, "message": message})
        self._loader.want(plan, Cause(request=who), "", first=first)
        return (*(match.module for match in plan.matches), *(step.module for step in plan.steps))

    def want_listed(self, entry: Listed) -> list[str]:
        """Load what a line of modules-load.d names, with its options; gives what is wrong with that.

        Options reach a module when it is inserted, and a device may have asked for it first.
        """
        plan = self._resolver.resolve(entry.name)
        if plan.stage is Stage.NONE:
            return [f"nothing is called {entry.name}, by name or by alias"]
        late: list[str] = []
        if entry.options:
            found = {match.module for match in plan.matches}
            late = sorted(module for module in found if self._loader.is_known(module))
            steps = [
                step._replace(options=f"{step.options} {entry.options}".lstrip())
                if step.module in found
                else step
                for step in plan.steps
            ]
            plan = plan._replace(steps=tuple(steps))
        self._loader.want(plan, Cause(request=entry.file), "")
        return [
            f"{module} was asked for before, by a device or by name, so its options `{entry.options}` come too late: "
            f"put `options {module} {entry.options}` into a file of /etc/modprobe.d"
            for module in late
        ]

    def find(self, what: str) -> str:
        """Return the devpath (or module) that is meant, once it is there; "" until then.

        what: a path below /sys or /dev, or subsystem:NAME, driver:NAME, module:NAME.
        """
        kind, colon, name = what.partition(":")
        if what.startswith("/"):
            return self._find_path(what)
        if not colon or not name:
            return ""
        if kind == "module":
            return name if is_safe_name(name) and self._sysfs.is_live(name.replace("-", "_")) else ""
        if kind not in {"subsystem", "driver"}:
            return ""
        return next((e.device.devpath for e in self.devices if getattr(e.device, kind) == name), "")

    def _find_path(self, path: str) -> str:
        if path.startswith("/dev/"):
            node = path.removeprefix("/dev/")
            return next((e.device.devpath for e in self.devices if e.device.devname == node), "")
        devpath = path.removeprefix("/sys")
        return devpath if self.devices.find(devpath) is not None else ""
