"""The policy's gate: what may be wanted for a device, and what a process may insert. Keeps the phase.

It is asked twice. When a device shows, its verdicts are written down and what is denied is never wanted. And once
more at the last moment before a process is started, over all that the process will insert: what was allowed when it
was wanted need not be so any more, and a module can be brought along by others than those it was first wanted with.
"""

from __future__ import annotations

from modaliasd.core.device import Device, Phase
from modaliasd.linux.descriptors import with_reserve
from modaliasd.linux.ledger import ERROR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from modaliasd.core.kmod.plan import Plan
    from modaliasd.core.ledger.write import Json
    from modaliasd.core.loading.cause import Cause
    from modaliasd.core.loading.load import Admission, Load, Needs
    from modaliasd.core.policy.admission import Court
    from modaliasd.core.policy.rules import Facts, Policy, Ruling
    from modaliasd.service.ports.outside import Brings, Clock, PolicySysfs, Writer

KERNEL = Device("", "kernel")  # who asks when the kernel itself requests a module


class Gate:
    """`policy`: None where there is none, and then all is allowed until it is frozen.

    `phase`: coldplug until the boot's first settle, or until nothing but slow loads keeps it from that; then hotplug,
    until it is frozen. follows_softdeps: does this image's modprobe?
    """

    def __init__(
        self,
        *,
        policy: Policy | None,
        phase: Phase,
        resolver: Brings,
        follows_softdeps: bool,
        sysfs: PolicySysfs,
        writer: Writer,
        clock: Clock,
    ) -> None:
        self.phase = phase
        self._policy = policy
        self._resolver = resolver
        self._follows_softdeps = follows_softdeps
        self._sysfs = sysfs
        self._writer = writer
        self._clock = clock
        # What was wanted in the coldplug when that ended before all was loaded. By identity: an equal cause that comes
        # later is another device in the same place.
        self._early: dict[int, Cause] = {}
        self._court: type[Court] | None = None  # imported once there is a policy and a load

    def write_mistakes(self) -> None:
        """Tell of what is wrong with the policy."""
        if self._policy is None:
            return
        for mistake in self._policy.mistakes:
            message = f"{mistake.message}; the whole policy is void, and everything is denied"
            place: dict[str, Json] = {"path": self._policy.path, "line": mistake.line}
            self._writer.write("warning", {"what": "policy", **place, "message": message})
            self._writer.say(f"{self._policy.path}:{mistake.line}: {message}", ERROR)

    def first_settled(self) -> None:
        """Handle the boot's first settle: what shows from now on has been plugged in."""
        self._early.clear()
        if self.phase is Phase.COLDPLUG:
            self.phase = Phase.HOTPLUG

    def end_coldplug(self, slow: Iterable[str], wanted: Iterable[Cause]) -> None:
        """All that was there at the boot is dealt with, but for slow loads: what shows from now on is hotplug.

        slow: the modules that are awaited. wanted: why any module has been wanted; what these still wait for is judged
        as they were.
        """
        self.phase = Phase.HOTPLUG
        self._early = {id(cause): cause for cause in wanted}
        message = f"not over yet: {', '.join(slow)}; devices that show from now on count as plugged in"
        self._writer.write("warning", {"what": "coldplug", "message": message})

    def freeze(self) -> None:
        """From now on only what the policy names is loaded for new devices."""
        self.phase = Phase.FROZEN
        if self._policy is None:
            self._policy = with_reserve(_empty_policy)
        self._writer.write("frozen", {})

    @property
    def is_void(self) -> bool:
        """Has the policy a mistake, so that everything is denied?"""
        return self._policy is not None and bool(self._policy.mistakes)

    @property
    def unloads_any(self) -> bool:
        """Is there a subsystem whose modules go with its last device?"""
        return self._policy is not None and bool(self._policy.unload)

    def unloads(self, subsystem: str) -> bool:
        """Return whether modules go with the last device of this subsystem that asked for them."""
        return self._policy is not None and subsystem in self._policy.unload

    def judge(self, plan: Plan, device: Device, t_us: int = -1) -> Plan:
        """Return what is left of the plan for the device; every ruling is written down."""
        policy = self._policy
        if policy is None:
            return plan
        from modaliasd.core.policy.rules import apply

        facts = self._facts(policy, device.subsystem, plan.lookup, device.devpath)
        left, rulings = apply(policy, plan, facts)
        t_us = self._clock() if t_us < 0 else t_us
        for module, ruling in rulings.items():
            self._write_ruling(policy, facts, module, ruling, t_us)
        return left

    def may_load(self, plan: Plan) -> bool:
        """Return whether the kernel may have what it asks for; not if it means nothing, or brings what is denied."""
        plan = self.judge(plan, KERNEL)
        denied = {denial.module for denial in plan.denied}
        if not plan.matches or any(match.module in denied for match in plan.matches):
            return False
        policy = self._policy
        if policy is None or not self._follows_softdeps:
            return True
        facts = self._facts(policy, KERNEL.subsystem, plan.lookup, "")
        brought = {n for match in plan.matches for n in self._resolver.brings(match.module, softdeps=True)}
        return all(policy.judge_brought(facts, name).allow for name in brought)

    def court(
        self, load_of: Callable[[str], Load | None], needs_of: Callable[[str], Needs | None]
    ) -> Callable[[Load], Admission | None]:
        """Return who is to be asked about each load just before its process is started."""

        def ask(load: Load) -> Admission | None:
            policy = self._policy
            if policy is None:
                return None
            if self._court is None:
                self._court = with_reserve(_court_class)
            resolver = self._resolver
            court = self._court(
                policy=policy,
                facts_of=lambda cause: self._facts(
                    policy, cause.subsystem, cause.modalias, cause.devpath, self._phase_of(cause)
                ),
                load_of=load_of,
                needs_of=needs_of,
                brings=resolver.brings,
                along=lambda name: resolver.brings(name, softdeps=True),
                follows_softdeps=self._follows_softdeps,
            )
            return court.rule(load)

        return ask

    def _phase_of(self, cause: Cause) -> Phase:
        """In which phase it is judged."""
        early = self.phase is Phase.HOTPLUG and id(cause) in self._early
        return Phase.COLDPLUG if early else self.phase

    def _facts(
        self, policy: Policy, subsystem: str, modalias: str, devpath: str, phase: Phase | None = None
    ) -> Facts:
        """Return what the rules ask about, as it is now."""
        from modaliasd.core.policy.rules import Facts

        removable = self._sysfs.removable(devpath) if devpath and policy.asks_removable else ""
        return Facts(phase or self.phase, subsystem, modalias, devpath, removable)

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
        self._writer.write("verdict", fields, t_us)


def _court_class() -> type[Court]:
    from modaliasd.core.policy.admission import Court

    return Court


def _empty_policy() -> Policy:
    from modaliasd.core.policy.rules import Policy

    return Policy()
