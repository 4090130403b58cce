"""Why a module is not loaded, or not at work: one Reason, the details, what fixes it.

    why_not(history, "e1000", facts)     -> WhyNot

Pure: what the ledger does not tell (the module tree, what is in the kernel now, suppliers that a device waits for)
comes in as ModuleFacts. Where the facts are of the machine as it is, they count more than the ledger's history.
text_explain.py turns the answer into text.
"""

from __future__ import annotations

from modaliasd.core.errors import FormatError
from modaliasd.core.fasttypes import Enum, NamedTuple
from modaliasd.core.kmod.glob import matches
from modaliasd.core.kmod.names import normalize_alias
from modaliasd.core.ledger.answers.explain import once, why_module
from modaliasd.core.ledger.answers.fixes import fix_of, fix_of_absence, shell_word
from modaliasd.core.loading.outcome import FailureKind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from modaliasd.core.kmod.tables import MayAsk
    from modaliasd.core.ledger.answers.explain import Asker, WhyModule
    from modaliasd.core.ledger.history import History
    from modaliasd.core.ledger.history_values import DeviceHistory, LoadHistory


class Reason(Enum):
    """Why a module is not at work."""

    AT_WORK = "it is loaded and drives a device"
    SERVES = "it is loaded: other modules need it"
    BUILTIN = "it is part of the kernel"
    NO_DEVICE = "no device here asks for it"
    NOT_ASKED = "the daemon has not asked for it, though a device here is for it"
    DENIED = "it is denied"
    NOT_LOADED = "a device here is for it, and nobody has loaded it"
    MISSING = "it is not in this image"
    ABSENT = "it is not among this kernel's modules here"
    UNBOUND = "it is loaded but drives nothing"
    WAITING = "its device waits for a supplier"
    FAILED = "its load failed"
    LEFT = "its init found nothing to drive and it left again"
    REMOVED = "it was loaded, and has been removed"
    REPLACED = "a command was run in its place"
    PENDING = "its load has not ended"
    ALIAS = "it is an alias, not a module"
    UNKNOWN = "this kernel has no such module"


GOOD = (Reason.AT_WORK, Reason.SERVES, Reason.BUILTIN)  # there is nothing to fix


class ModuleFacts(NamedTuple):
    """What the running machine (or an unpacked image) knows of a module; None where nobody could look.

    tree: the directory that was looked at, "" if none was. in_tree: is its file listed in modules.dep? in_kernel: is it
    listed in modules.order, which an image has of its whole kernel? builtin: in modules.builtin? aliases: its patterns
    in modules.alias. stands_for: modules that the word is an alias of. similar: names of modules that are like it.
    may_ask: who may have the kernel ask for it. live: is it in the kernel now? waiting: devpaths of devices that wait
    for a supplier, with the suppliers' names.
    """

    tree: str = ""
    in_tree: bool | None = None
    in_kernel: bool | None = None
    builtin: bool = False
    aliases: tuple[str, ...] = ()
    stands_for: tuple[str, ...] = ()
    similar: tuple[str, ...] = ()
    may_ask: tuple[MayAsk, ...] = ()
    live: bool | None = None
    waiting: Mapping[str, tuple[str, ...]] = {}


class WhyNot(NamedTuple):
    """The answer: reason, the details in whole sentences, the command or step that fixes it ("" for none)."""

    module: str
    reason: Reason
    details: tuple[str, ...]
    fix: str = ""


def why_not(history: History, module: str, facts: ModuleFacts) -> WhyNot:
    """Why the module is not loaded, or not at work."""
    answer = _answer(history, module.replace("-", "_"), facts)
    if history.watched and answer.reason is Reason.MISSING:
        answer = answer._replace(reason=Reason.ABSENT)
    other = _other_kernel(history, facts)
    return answer._replace(details=(*answer.details, other)) if other else answer


def _answer(history: History, name: str, facts: ModuleFacts) -> WhyNot:
    why = why_module(history, name)
    load = why.load if why is not None else None
    is_in = _is_in(why, facts)
    if why is not None and load is not None and not load.succeeded and not is_in:
        return _not_loaded(history, name, load, why)
    if facts.builtin or (why is not None and _is_builtin(why)):
        details = ["It is compiled into the kernel: there is nothing to load."]
        return WhyNot(name, Reason.BUILTIN, tuple(details + _driven(why)))
    if (
        why is not None
        and load is not None
        and load.outcome == "command"
        and not facts.live
        and not _driven(why)
    ):
        words = f"A line of modprobe.d runs a command instead of loading it. {load.message}".rstrip()
        return WhyNot(name, Reason.REPLACED, (words,), "modaliasd check-config; take the `install` line away")
    if is_in is False:
        return _removed(history, name, why, facts)
    if is_in:
        return _loaded(history, name, why, facts)
    present = tuple(asker for asker in why.askers if asker.device.present) if why is not None else ()
    if present and history.watched:
        return _not_loaded_by_anybody(name, present)
    if present:
        words = f"{_devices(present)} matched it, and the ledger has no end of its load yet."
        return WhyNot(name, Reason.PENDING, (words,), "modaliasd settle; modaliasd status")
    if why is not None and why.askers:
        words = f"{_devices(why.askers)} matched it, and is gone."
        return WhyNot(name, Reason.NO_DEVICE, (words,))
    return _not_asked_for(history, name, facts)


def _not_loaded_by_anybody(name: str, present: tuple[Asker, ...]) -> WhyNot:
    device, match = present[0]
    details = [f"{_devices(present)} matched it by {match.alias}."]
    if device.driver:
        details.append(f"{device.devpath} is driven by {device.driver}.")
    details.append(
        "It is not in the kernel: whoever loads here (udev) has not run since, was told not to, or has failed."
    )
    return WhyNot(
        name, Reason.NOT_LOADED, tuple(details), f"modprobe {shell_word(name)}, which says what is wrong"
    )


def _is_in(why: WhyModule | None, facts: ModuleFacts) -> bool | None:
    """Return whether the module is in the kernel; False: it was, and is no longer; None: as far as is known, never."""
    load = why.load if why is not None else None
    seen = why.appearance if why is not None else None
    told: bool | None = True if load is not None and load.succeeded else None
    if seen is not None and (load is None or seen.t_us >= load.end_us):
        told = seen.came
    if facts.live is None:
        return told
    return True if facts.live else (None if told is None else False)


def _is_builtin(why: WhyModule) -> bool:
    if why.load is not None:
        return why.load.outcome == "builtin"
    return any(match.builtin for _device, match in why.askers)


def _other_kernel(history: History, facts: ModuleFacts) -> str:
    """Answer for a ledger and a module tree of two kernels: what one has, the other need not."""
    ours, theirs = str(history.start.get("kernel", "")), facts.tree.rstrip("/").rpartition("/")[2]
    if not ours or ours == theirs or not theirs[:1].isdigit() or "." not in theirs:
        return ""
    return (
        f"The ledger is of kernel {ours}, and {facts.tree} seems to be of kernel {theirs}: they may differ."
    )


def _not_loaded(history: History, name: str, load: LoadHistory, why: WhyModule) -> WhyNot:
    asked = f"{_devices(why.askers)} asked for it." if why.askers else ""
    details = tuple(word for word in (asked, load.message) if word)
    if load.outcome == "denied":
        return WhyNot(name, Reason.DENIED, details, fix_of(history, name, load))
    if load.outcome == "nodevice":
        return WhyNot(name, Reason.LEFT, details)
    missing = load.failure is FailureKind.NOT_IN_IMAGE
    return WhyNot(name, Reason.MISSING if missing else Reason.FAILED, details, fix_of(history, name, load))


def _removed(history: History, name: str, why: WhyModule | None, facts: ModuleFacts) -> WhyNot:
    details = [
        "The kernel does not have it any more: somebody's rmmod or modprobe -r, or the policy's `unload`."
    ]
    present = tuple(asker for asker in why.askers if asker.device.present) if why is not None else ()
    details += [f"{_devices(present)} asked for it, and is still there."] if present else []
    fix = f"modaliasd load {shell_word(name)}"
    if facts.in_tree is False:
        fix = fix_of_absence(history, name)
    elif history.watched:
        fix = f"modprobe {shell_word(name)}"
    return WhyNot(name, Reason.REMOVED, tuple(details), fix)


def _loaded(history: History, name: str, why: WhyModule | None, facts: ModuleFacts) -> WhyNot:
    driven = _driven(why)
    if driven:
        return WhyNot(name, Reason.AT_WORK, tuple(driven))
    wanted = why.needed_by + why.softdep_of if why is not None else ()
    users = once([*wanted, *history.users_of(name)])
    if users:
        words = f"Loaded because {', '.join(users)} need{'s' * (len(users) == 1)} it."
        return WhyNot(name, Reason.SERVES, (words,))
    askers = why.askers if why is not None else ()
    waiting = [asker.device for asker in askers if asker.device.devpath in facts.waiting]
    if waiting:
        details = [
            f"{device.devpath} waits for its supplier: {_suppliers(device, facts)}." for device in waiting
        ]
        fix = "find what drives the supplier: modaliasd why SUPPLIER"
        return WhyNot(name, Reason.WAITING, tuple(details), fix)
    details = [_fate(device) for device, _match in askers]
    if why is None:
        ledger = "nothing here tells" if history.timeless else "the ledger does not tell"
        details.append(f"/proc/modules has it, and {ledger} how it came: no device asks for it.")
    elif not askers:
        details.append(
            "It came without a device that asked for it: the kernel, or somebody by name, wanted it."
        )
    failed_probe = any(a.device.idle_drivers and not a.device.former for a in askers)
    return WhyNot(
        name, Reason.UNBOUND, tuple(details), "dmesg says why a probe failed" if failed_probe else ""
    )


def _suppliers(device: DeviceHistory, facts: ModuleFacts) -> str:
    return ", ".join(facts.waiting[device.devpath]) or "which the kernel does not name"


def _fate(device: DeviceHistory) -> str:
    """Return what became of a device that asked for a module and is not driven by it."""
    if not device.present:
        return f"{device.devpath} asked for it, and is gone."
    if device.driver:
        return f"{device.devpath} asked for it, and is driven by {device.driver}."
    if device.former:
        return f"{device.devpath} asked for it; {device.former} had it, and has let go of it."
    if device.idle_drivers:
        drivers = ", ".join(device.idle_drivers)
        return f"{device.devpath} asked for it; its driver ({drivers}) did not take the device."
    return f"{device.devpath} asked for it; it brought no driver for that bus."


def _not_asked_for(history: History, name: str, facts: ModuleFacts) -> WhyNot:
    """Answer for a name that the ledger does not know: is there such a module, and whom would it be for?"""
    devices = [device for device in history.devices.values() if device.modalias and device.present]
    wanting = [d for d in devices if any(alias_matches(alias, d.modalias) for alias in facts.aliases)]
    unmatched = sum(not device.matches for device in devices)
    if wanting:
        names = ", ".join(device.devpath for device in wanting[:3])
        if facts.in_tree:
            words = (
                f"Its aliases match {names}.",
                "The daemon may have looked before it was there, or may not run.",
            )
            return WhyNot(name, Reason.NOT_ASKED, words, "modaliasd coldplug; modaliasd status")
        return WhyNot(name, Reason.MISSING, (f"{names} would ask for it.",), fix_of_absence(history, name))
    if not facts.in_tree and facts.stands_for:
        modules = ", ".join(facts.stands_for)
        return WhyNot(
            name, Reason.ALIAS, (f"It stands for {modules}.",), f"modaliasd why-not {facts.stands_for[0]}"
        )
    if not facts.in_tree and facts.in_kernel is False:
        details = [f"Neither modules.order nor modules.builtin in {facts.tree} lists it."]
        details += [f"Similar names: {', '.join(facts.similar)}."] if facts.similar else []
        return WhyNot(name, Reason.UNKNOWN, tuple(details))
    if facts.in_tree is False:
        known = (
            "This kernel has it, by modules.order; an"
            if facts.in_kernel
            else "If this kernel has it at all, an"
        )
        details = [
            f"modules.dep does not list it. Of {len(devices)} modaliases here, {unmatched} have no match.",
            f"{known} image that has it tells whether one of them is for it.",
        ]
        if history.watched:
            details[1:] = ["modules.order has it: another of the kernel's packages may bring it."] * bool(
                facts.in_kernel
            )
        return WhyNot(name, Reason.MISSING, tuple(details), fix_of_absence(history, name))
    if facts.in_tree is None:
        details = [
            f"{len(devices)} devices have a modalias, {unmatched} without a match; none matched this module."
        ]
        if facts.tree:
            details.append(f"Whether it is there to be loaded is unknown: {facts.tree} has no modules.dep.")
            return WhyNot(
                name, Reason.NO_DEVICE, tuple(details), f"depmod makes modules.dep, for {facts.tree}"
            )
        details.append(
            "Whether the image has it, the ledger does not tell: ask in the guest, or with --modules-dir."
        )
        return WhyNot(name, Reason.NO_DEVICE, tuple(details))
    return _for_nobody(history, name, facts, len(devices))


def _for_nobody(history: History, name: str, facts: ModuleFacts, devices: int) -> WhyNot:
    """Answer for a module that could be loaded and that no device here is for."""
    command = "modprobe" if history.watched else "modaliasd load"
    fix = f"{command} {shell_word(name)} (if you want it all the same)"
    if facts.may_ask:
        return WhyNot(name, Reason.NO_DEVICE, tuple(f"{line}." for line in may_ask_lines(facts.may_ask)), fix)
    if not facts.aliases:
        words = "It has no aliases: it is loaded by name, or because another module needs it."
        return WhyNot(name, Reason.NO_DEVICE, (words,), fix)
    buses = ", ".join(sorted({alias.partition(":")[0] for alias in facts.aliases}))
    details = (
        f"{devices} devices here have a modalias; none of them matches one of its aliases.",
        f"It has {len(facts.aliases)} aliases, for {buses}; the first is {facts.aliases[0]}.",
    )
    return WhyNot(name, Reason.NO_DEVICE, details, fix)


def may_ask_lines(may_ask: Iterable[MayAsk]) -> list[str]:
    """Say who may have the kernel ask for a module, a line for each: `ext4 asks for it when needed: crypto-crc32c`."""
    words: dict[str, list[str]] = {}
    for one in may_ask:
        words.setdefault("the kernel" if one.asker == "kernel" else one.asker, []).append(one.word)
    return [f"{asker} asks for it when needed: {', '.join(asked)}" for asker, asked in words.items()]


def alias_matches(alias: str, modalias: str) -> bool:
    """Return whether the pattern matches, by kmod's rules; not if one of them is malformed."""
    try:
        pattern, text = _normal(alias), _normal(modalias)
    except FormatError:
        return False
    return matches(pattern, text)


def _normal(text: str) -> str:
    return normalize_alias(text.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")


def _driven(why: WhyModule | None) -> list[str]:
    drives = why.drives if why is not None else ()
    return [f"It drives {device.devpath}." for device in drives if device.present]


def _devices(askers: tuple[Asker, ...]) -> str:
    first = askers[0].device.devpath if askers else "somebody"
    return first if len(askers) < 2 else f"{first} and {len(askers) - 1} more"
