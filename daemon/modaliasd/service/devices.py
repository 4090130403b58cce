"""What is known of the devices, and what follows when one shows: match its modalias, want modules, write it down."""

from __future__ import annotations

from modaliasd.core.device import Device, Phase
from modaliasd.core.inventory import Inventory
from modaliasd.core.kmod.plan import Stage
from modaliasd.core.ledger.write import device_fields, line, to_json
from modaliasd.core.loading.outcome import Outcome
from modaliasd.core.loading.scheduler import Cause
from modaliasd.linux.descriptors import with_reserve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from modaliasd.core.inventory import Entry
    from modaliasd.core.kmod.plan import Plan
    from modaliasd.core.ledger.write import Json
    from modaliasd.core.policy.rules import Facts, Policy, Ruling
    from modaliasd.service.world import World

KERNEL = Device("", "kernel")  # who asks when the kernel itself requests a module
TRIED_AGAIN = (Outcome.FAILED, Outcome.NODEVICE)
BUILTIN_STAGES = (Stage.BUILTIN, Stage.BUILTIN_ALIAS)


class Registry:
    """The devices that are there, as far as walks and uevents have told.

    news: has anything happened since it was last set to False that a settle is worth being told of? A device
    that asks for something came or went, a driver took one or left it, or a load ended.
    phase: coldplug until the boot's first settle, then hotplug, until it is frozen.
    orphans: modules to be unloaded if nothing else wants them -> the device that had them last.
    """

    def __init__(self, world: World) -> None:
        self.devices = Inventory()
        self.news = True
        self.phase = world.phase
        self.orphans: dict[str, str] = {}
        self._left: set[str] = set()
        # told of as unbound: devpath -> the drivers that did not take it
        self._idle: dict[str, list[str]] = {}
        self._policy = world.policy
        self._world = world
        # Of the alias index, as far as the ledger knows. Without modules there is none, and that is told as such.
        self._generation = world.aliases.generation if world.no_modules else 0

    def tell_of_index(self) -> None:
        """Write down what is wrong with the index of aliases, if it is another than the ledger knows of."""
        index = self._world.aliases
        if index.generation == self._generation:
            return
        self._generation = index.generation
        if index.message:
            message = f"{index.message}; built from modules.alias"
            self._world.write("warning", {"what": "alias index", "message": message})
        for skipped in index.warnings:
            message = f"skipped: {skipped.reason}"
            self._world.write("warning", {"what": "modules.alias", "line": skipped.line, "message": message})

    def start_over(self) -> None:
        """Know no devices: a walk will look all of them up again."""
        self.devices = Inventory()

    def see(self, device: Device, action: str, extra: dict[str, Json], t_us: int = -1) -> Entry:
        """A device is there: match its modalias where that is news, have the modules loaded, write it down."""
        known = self.devices.find(device.devpath)
        if known is not None and known.device == device and action == "coldplug":
            return known
        entry, news = self.devices.see(device)
        self.news |= bool(device.modalias)
        if action == "add":
            news = news or any(module in self._left for module in entry.modules)
        t_us = self._world.clock() if t_us < 0 else t_us
        parts = line("device", t_us, device_fields(device, action) | extra)
        if news:
            plugged = known is None and action == "add" and self.phase is not Phase.COLDPLUG
            matches = self._want_modules(entry, t_us, try_again=plugged)
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
        entry = self.devices.remove(device.devpath)
        self.news |= bool(device.modalias)
        if entry is not None and self._policy is not None and device.subsystem in self._policy.unload:
            self.orphans |= dict.fromkeys(entry.modules, device.devpath)
        self._world.write("device", device_fields(device, "remove") | extra, t_us)

    def forget_gone(self, seen: set[str], walk: int) -> None:
        """A walk has ended: of the devices that it did not meet, those have gone that /sys does not have."""
        missed = [entry.device for entry in self.devices if entry.device.devpath not in seen]
        for device in missed:
            if not self._world.sysfs.exists(device.devpath):
                self.remove(device, {"walk": walk})

    def _forget_failures(self, modules: tuple[str, ...]) -> None:
        scheduler = self._world.loader.scheduler
        for module in modules:
            load = scheduler.load_of(module)
            if load is not None and load.verdict is not None and load.verdict.outcome in TRIED_AGAIN:
                scheduler.forget(module)

    def module_left(self, module: str) -> None:
        """A module was removed: the next `add` of a device that it is for has it loaded again."""
        self._left.add(module)
        self._world.loader.left(module)

    def is_wanted(self, module: str) -> bool:
        """Is there a device whose modalias matches the module?"""
        return any(module in entry.modules for entry in self.devices)

    def want_again(self, module: str) -> None:
        """The module has been unloaded: devices that came meanwhile have it loaded again."""
        for entry in self.devices:
            if module in entry.modules:
                self._want_modules(entry, self._world.clock())

    def _want_modules(self, entry: Entry, t_us: int, *, try_again: bool = False) -> list[Json]:
        """Look the device's modalias up and have done what the answer says; gives the matches for the ledger.

        try_again: loads that failed before may work now, for a device that has just been plugged in.
        """
        device = entry.device
        plan = self._world.resolver.resolve(device.modalias)
        self.tell_of_index()
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
            if self._policy is not None:
                plan = self._ask_policy(self._policy, plan, device, t_us)
            entry.modules = tuple(match.module for match in plan.matches)
            self._left.difference_update(entry.modules)
            if try_again:
                self._forget_failures(entry.modules)
            cause = Cause(device.devpath, device.subsystem, device.modalias)
            self._world.loader.want(plan, cause, device.modalias)
        return written

    def _ask_policy(self, policy: Policy, plan: Plan, device: Device, t_us: int) -> Plan:
        """What is left of the plan; every ruling is written down."""
        from modaliasd.core.policy.rules import Facts, apply

        devpath = device.devpath
        removable = self._world.sysfs.removable(devpath) if devpath and policy.asks_removable else ""
        facts = Facts(self.phase, device.subsystem, plan.lookup, devpath, removable)
        left, rulings = apply(policy, plan, facts)
        for module, ruling in rulings.items():
            self._write_ruling(policy, facts, module, ruling, t_us)
        return left

    def _write_ruling(self, policy: Policy, facts: Facts, module: str, ruling: Ruling, t_us: int) -> None:
        fields: dict[str, Json] = {
            "verdict": "allow" if ruling.allow else "deny",
            "module": module,
            "modalias": facts.modalias,
            "devpath": facts.devpath,
            "phase": facts.phase.value,
        }
        if ruling.line:
            fields |= {"file": policy.path, "line": ruling.line}
        self._world.write("verdict", fields, t_us)

    def may_load(self, word: str) -> bool:
        """May the kernel have what it asks for by this word loaded? Not if it stands for nothing."""
        plan = self._world.resolver.resolve(word)
        if self._policy is not None:
            plan = self._ask_policy(self._policy, plan, KERNEL, self._world.clock())
        denied = {denial.module for denial in plan.denied}
        return bool(plan.matches) and not any(match.module in denied for match in plan.matches)

    def freeze(self) -> None:
        """From now on only what the policy names is loaded for new devices."""
        self.phase = Phase.FROZEN
        if self._policy is None:
            self._policy = with_reserve(_empty_policy)
        self._world.write("frozen", {})

    def first_settled(self) -> None:
        """The boot's first settle: what shows from now on has been plugged in."""
        if self.phase is Phase.COLDPLUG:
            self.phase = Phase.HOTPLUG

    def want_by_name(self, name: str, who: str) -> None:
        """Load what a name or an alias stands for, because somebody asked for it."""
        plan = self._world.resolver.resolve(name)
        if plan.stage is Stage.NONE:
            message = f"nothing is called {name}, by name or by alias"
            self._world.write("warning", {"what": who, "message": message})
        self._world.loader.want(plan, Cause(request=who), "")

    def find(self, what: str) -> str:
        """The devpath (or module) that is meant, once it is there; "" until then.

        what: a path below /sys or /dev, or subsystem:NAME, driver:NAME, module:NAME.
        """
        kind, colon, name = what.partition(":")
        if what.startswith("/"):
            return self._find_path(what)
        if not colon or not name:
            return ""
        if kind == "module":
            return name if self._world.sysfs.is_live(name.replace("-", "_")) else ""
        for entry in self.devices:
            if name == {"subsystem": entry.device.subsystem, "driver": entry.device.driver}.get(kind):
                return entry.device.devpath
        return ""

    def _find_path(self, path: str) -> str:
        if path.startswith("/dev/"):
            node = path.removeprefix("/dev/")
            return next((e.device.devpath for e in self.devices if e.device.devname == node), "")
        devpath = path.removeprefix("/sys")
        return devpath if self.devices.find(devpath) is not None else ""

    def write_unbound(self) -> None:
        """Devices whose modules are in, and have a driver for their bus, and yet no driver has taken them.

        Each is told once, and again if it was bound meanwhile, or other drivers are there that could have taken it.
        """
        sysfs = self._world.sysfs
        told, self._idle = self._idle, {}
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
            self._idle[device.devpath] = drivers
            if told.get(device.devpath) == drivers:
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


def _empty_policy() -> Policy:
    from modaliasd.core.policy.rules import Policy

    return Policy()
