"""Predicts a boot: which modules a machine would have loaded, in which order, and which devices stay alone. Pure.

The answers come from the daemon's own code: core/kmod/resolve.py looks a modalias up, core/loading/demand.py says
what follows, core/loading/scheduler.py orders it. Only modprobe is left out: every insertion is taken to work.

Devices come in rounds, as in a boot. A device below one that a driver has to take first (a disk below its controller)
appears in the round after that driver's module. What a driver asks for by itself (`request_module`) no modalias tells:
where the capture shows a driver whose module no device asks for, that module is taken to come at the kernel's request
again. docs/predicting.md says what this can know and what not.
"""

import re
from collections.abc import Callable, Iterable

from hostbuild.predict.capture import Capture, Captured
from hostbuild.predict.prediction import DeviceFate, Fate, Foreseen, Prediction, Target
from modaliasd.core.device import Phase
from modaliasd.core.kmod.invocation import Flavour, invocation
from modaliasd.core.kmod.plan import Denied, Plan, Stage, Step
from modaliasd.core.loading.cause import Cause
from modaliasd.core.loading.demand import demands_of_plan, needs_of_plan
from modaliasd.core.loading.load import Admission, Load, Needs
from modaliasd.core.loading.outcome import INSERTED, SUCCESSES, LoadResult, Outcome
from modaliasd.core.loading.priority import rank_of
from modaliasd.core.loading.scheduler import Scheduler
from modaliasd.core.policy.admission import Court
from modaliasd.core.policy.rules import Facts, apply

_KERNEL = "the kernel"  # who requests what no device asks for
_BUILTIN = (Stage.BUILTIN, Stage.BUILTIN_ALIAS)
_TAKEN_BACK = ("hdaudio",)  # a codec that no driver takes is unregistered again (sound/pci/hda/hda_codec.c)
_PCI_ROOT = re.compile(r"pci[0-9a-f]{4,}:[0-9a-f]{2}")
_DRIVERLESS = ("input",)  # classes without drivers; this one has handlers


def predict(capture: Capture, target: Target) -> Prediction:
    """Predict the boot of `target` on the machine of `capture`."""
    boot = _Boot(capture, target)
    boot.run()
    return boot.prediction()


class _Boot:
    def __init__(self, capture: Capture, target: Target) -> None:
        self._capture = capture
        self._target = target
        self._devices = {one.devpath: one for one in capture.devices}
        self._plans = {
            path: self._ruled(target.resolver.resolve(one.device.modalias), path, one.device.subsystem)
            for path, one in self._devices.items()
            if one.device.modalias
        }
        self._matched = {match.module for plan in self._plans.values() for match in plan.matches}
        self._needs: dict[str, Needs] = {}
        self._steps: dict[str, Step] = {}
        self._scheduler = Scheduler(self._needs.__getitem__, _no_size, 1, (), self._gate())
        self._loads: list[tuple[Load, int, bool]] = []
        self._present: set[str] = set()
        self._requested: set[str] = set()

    def run(self) -> None:
        """Run rounds until nothing new appears."""
        for name in self._target.wanted:
            self._want(self._target.resolver.resolve(name), Cause(request="modaliasd.load="))
        number = 0
        while True:
            new = [path for path in self._devices if path not in self._present and not self._blocker(path)]
            self._present.update(new)
            for path in new:
                if path in self._plans:
                    device = self._devices[path].device
                    self._want(self._plans[path], Cause(path, device.subsystem, device.modalias))
            if number == 0:
                for entry in self._target.listed:
                    self._want(self._target.resolver.resolve(entry.name), Cause(request=entry.file))
            done = self._finish(number, by_kernel=False)
            if not new and not done:
                requests = self._requests()
                if not requests:
                    return
                for module in requests:
                    self._request(module)
                self._finish(number, by_kernel=True)
            number += 1

    def _want(self, plan: Plan, cause: Cause) -> None:
        """Ask for what a plan holds, as the daemon's loader does."""
        for module, needs in needs_of_plan(plan, self._is_single, ()).items():
            self._needs.setdefault(module, needs)
        for step in plan.steps:
            self._steps.setdefault(step.module, step)
        for demand in demands_of_plan(plan):
            because = cause.by(demand.match)
            if demand.result is not None:
                self._scheduler.conclude(demand.match.module, because, demand.result, 0)
            elif demand.step is not None:
                rank = rank_of(cause.modalias, demand.step.path).value
                self._scheduler.request(demand.match.module, because, rank, 0, demand.behind)

    def _request(self, module: str) -> None:
        """Have done what the kernel's `modprobe -q MODULE` does: refused by the kernel, what it needs still comes."""
        plan = self._ruled(self._target.resolver.resolve(module, use_blacklist=False), "", "kernel")
        self._requested.add(module)
        self._want(plan, Cause(request=_KERNEL))
        if any(denial.by is Denied.KERNEL for denial in plan.denied):
            for need in self._target.resolver.dependencies.load_order(module).modules[:-1]:
                self._want(self._target.resolver.resolve(need, use_blacklist=False), Cause(module=module))

    def _ruled(self, plan: Plan, devpath: str, subsystem: str) -> Plan:
        """Return what the policy leaves of a plan, at coldplug. Whether a device is removable no capture tells."""
        if self._target.policy is None:
            return plan
        return apply(self._target.policy, plan, Facts(Phase.COLDPLUG, subsystem, plan.lookup, devpath))[0]

    def _gate(self) -> Callable[[Load], Admission | None] | None:
        """Return what the policy says of each job, as the daemon's gate asks it."""
        policy, resolver = self._target.policy, self._target.resolver
        if policy is None:
            return None
        follows_softdeps = self._target.flavour is Flavour.KMOD
        court = Court(
            policy=policy,
            facts_of=lambda cause: Facts(Phase.COLDPLUG, cause.subsystem, cause.modalias, cause.devpath),
            load_of=self._queued,
            needs_of=self._needs.get,
            brings=resolver.brings,
            along=lambda module: resolver.brings(module, softdeps=True),
            follows_softdeps=follows_softdeps,
        )
        return court.rule

    def _queued(self, module: str) -> Load | None:
        return self._scheduler.load_of(module)

    def _is_single(self, step: Step) -> bool:
        return not invocation(step, self._target.flavour, "").batch

    def _finish(self, number: int, *, by_kernel: bool) -> bool:
        """Carry out all that is queued; was there anything?"""
        while job := self._scheduler.next_job(0):
            self._scheduler.finished({module: self._result(module) for module in job.modules}, 0)
        told = self._scheduler.take_told()
        self._loads += [(load, number, by_kernel) for load in told]
        return bool(told)

    def _result(self, module: str) -> LoadResult:
        if self._steps[module].command:
            return LoadResult(Outcome.COMMAND, f"runs: {self._steps[module].command}")
        if module in self._capture.left:
            return LoadResult(Outcome.NODEVICE, "its init found nothing to drive on the captured machine")
        return INSERTED

    def _comes(self, module: str) -> bool:
        """Return whether it is in the kernel by now."""
        load = self._scheduler.load_of(module)
        loaded = load is not None and load.result is not None and load.result.outcome in SUCCESSES
        return loaded or self._target.is_builtin(module)

    # --- what hangs on what -----------------------------------------------------------------------------

    def _blocker(self, path: str) -> str:
        """Return the topmost device above that needs a driver before this one can appear, and has none; "" for none."""
        found = ""
        above = path.rpartition("/")[0]
        while above:
            parent = self._devices.get(above)
            if parent is not None and _brings(parent, self._devices[path]) and not self._has_driver(parent):
                found = above
            above = above.rpartition("/")[0]
        return found

    def _has_driver(self, one: Captured) -> bool:
        return one.devpath in self._present and self._is_driven(one)

    def _is_driven(self, one: Captured) -> bool:
        """Return whether a driver takes the device that had one in the capture."""
        if one.module and self._target.has(one.module):
            return self._comes(one.module)
        plan = self._plans.get(one.devpath)
        candidates = (
            [] if plan is None or plan.stage in _BUILTIN else [match.module for match in plan.matches]
        )
        if candidates:
            return any(map(self._comes, candidates))
        return self._was_builtin(one) or (plan is not None and plan.stage in _BUILTIN)

    def _was_builtin(self, one: Captured) -> bool:
        """Return whether the device's driver was part of the captured machine's kernel.

        /sys names a module of such drivers, too, since Linux 6.10, and modules.builtin has only those that Kconfig
        would have built as a module (pcieport is of pcieportdrv).
        """
        there = self._capture.modules
        return not one.module or (there is not None and one.module not in there)

    def _requests(self) -> list[str]:
        """Modules of the captured machine that no device asks for, and that are not here yet.

        Each drove a device there, or is asked for by name, in the image, by one that has come.
        """
        found = dict.fromkeys(
            one.module for path, one in self._devices.items() if path in self._present and one.module
        )
        for asked in self._target.may_ask:
            known = "*" not in asked.word and asked.module in (self._capture.modules or ())
            if known and self._comes(asked.asker):
                found[asked.module] = None
        return [
            module
            for module in found
            if module not in self._matched | self._requested
            and self._target.resolver.dependencies.find(module) is not None
            and not self._comes(module)
        ]

    # --- the result -------------------------------------------------------------------------------------

    def prediction(self) -> Prediction:
        """Return what came out."""
        loads = tuple(self._foreseen(load, number, by_kernel) for load, number, by_kernel in self._loads)
        fates = [self._fate(self._devices[path]) for path in self._devices if self._concerns(path)]
        unexplained = [name for name in self._capture.modules or () if self._target.has(name)]
        others = set(unexplained) - {load.module for load in loads} - self._explained()
        opened = [f.devpath for f in fates if f.fate is Fate.EXPECTED]
        return Prediction(self._target.kernel, loads, tuple(fates), tuple(sorted(others)), tuple(opened))

    def _explained(self) -> set[str]:
        """Return what devices account for, there or absent, allowed or denied; and what is part of the kernel."""
        dependencies = self._target.resolver.dependencies
        named = self._matched | {one.module for one in self._devices.values() if one.module}
        files = [file for name in named if (file := dependencies.find(name)) is not None]
        return named.union(dependencies.builtin, *(file.needs for file in files))

    def _concerns(self, path: str) -> bool:
        device = self._devices[path].device
        return bool(device.modalias or device.driver)

    def _foreseen(self, load: Load, number: int, by_kernel: bool) -> Foreseen:
        assert load.result is not None, "it was told"
        needs = tuple(name for name in load.needs.before if self._comes(name))
        result = load.result
        return Foreseen(
            load.module, result.outcome, result.message, tuple(load.causes), needs, number, by_kernel
        )

    def _fate(self, one: Captured) -> DeviceFate:
        plan = self._plans.get(one.devpath)
        modules = () if plan is None else tuple(match.module for match in plan.matches)
        fate, why = self._judge(one, plan, modules)
        device = one.device
        aliases = () if plan is None else tuple(match.alias for match in plan.matches)
        return DeviceFate(
            one.devpath,
            device.subsystem,
            device.modalias,
            fate,
            device.driver,
            modules,
            why,
            aliases,
            device.of_node,
        )

    def _judge(self, one: Captured, plan: Plan | None, modules: tuple[str, ...]) -> tuple[Fate, str]:
        here = self._target.name
        if one.devpath not in self._present:
            above = self._blocker(one.devpath)
            return (
                Fate.ABSENT,
                f"it appears only once {above} has its driver {self._devices[above].device.driver}",
            )
        driver = one.device.driver
        if driver and self._is_driven(one):
            return Fate.BOUND, f"{driver} takes it" + (f", of {one.module}" if one.module else "")
        if driver and one.device.subsystem in _TAKEN_BACK:
            return Fate.ABSENT, f"what makes it takes it back, as {driver} does not come"
        if plan is None or plan.stage is Stage.NONE:
            if not driver:
                return Fate.NO_ALIAS, f"{here} has no alias that matches"
            return (
                Fate.NO_MODULE,
                f"its driver {driver} is of {one.module or 'nobody'}, which {here} does not have",
            )
        if plan.stage in _BUILTIN:
            return Fate.BUILTIN, f"{_list(modules)} is part of the kernel and did not take it in the capture"
        came = [module for module in modules if self._comes(module)]
        if came and one.device.subsystem in _DRIVERLESS:
            return Fate.HANDLED, f"{_list(came)} comes for it; there are no drivers of its kind"
        if came and not driver and self._were_there(came):
            return Fate.DECLINED, f"{_list(came)} comes, and did not take it in the capture"
        if came and not driver:
            return Fate.EXPECTED, f"{_list(came)} comes for it"
        return self._refusal(one, plan, modules)

    def _were_there(self, modules: Iterable[str]) -> bool:
        """Were they in the captured machine's kernel?"""
        return self._capture.modules is not None and self._capture.modules.issuperset(modules)

    def _refusal(self, one: Captured, plan: Plan, modules: tuple[str, ...]) -> tuple[Fate, str]:
        loads = [load for module in modules if (load := self._load_of(module)) is not None and load.result]
        words = {load.result.outcome: load.result.message for load in loads if load.result}
        if Outcome.DENIED in words or plan.denied:
            return Fate.DENIED, f"{_list(modules)}: {words.get(Outcome.DENIED, plan.denied[0].by.value)}"
        if Outcome.NODEVICE in words:
            return Fate.DECLINED, f"{_list(modules)}: {words[Outcome.NODEVICE]}"
        if one.device.driver and not words.get(Outcome.FAILED):
            return Fate.NO_MODULE, f"{one.module} drove it in the capture, and does not come here"
        return Fate.BROKEN, f"{_list(modules)}: {words.get(Outcome.FAILED, 'it cannot be inserted')}"

    def _load_of(self, module: str) -> Load | None:
        found = [load for load, _, _ in self._loads if load.module == module]
        return found[-1] if found else None


def _brings(parent: Captured, child: Captured) -> bool:
    """Return whether the parent has a driver without which the child would not be there.

    Functions behind a PCI bridge are found by the PCI core; a host bridge in between (Intel's VMD) belongs to a driver.
    ACPI's tree comes from the firmware's tables.
    """
    if not parent.device.driver:
        return False
    bus = child.device.subsystem
    if bus != parent.device.subsystem or bus not in ("pci", "acpi"):
        return True
    return any(map(_PCI_ROOT.fullmatch, child.devpath[len(parent.devpath) :].split("/")))


def _no_size(_module: str) -> int:
    """Return 0: the daemon lets the smaller of two equally urgent modules go first; here are no files to measure."""
    return 0


def _list(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(names))
