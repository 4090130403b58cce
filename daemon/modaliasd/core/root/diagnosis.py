"""Why the root file system is not there: one reason, the sentence that says it, what came instead, what fixes it.

    diagnose(history, facts) -> Diagnosis

Pure: the history is the ledger's (core/ledger/history.py), the facts are what whoever looked has found. The likeliest
reason is told first; what else is amiss with disks stands in the details.
"""

from __future__ import annotations

from modaliasd.core.fasttypes import Enum, NamedTuple
from modaliasd.core.root.closed import why_closed
from modaliasd.core.root.members import MEMBERS
from modaliasd.core.root.names import Hint, hint_for
from modaliasd.core.root.target import shown
from modaliasd.core.root.undriven import Fault, undriven
from modaliasd.core.root.words import By

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from modaliasd.core.ledger.history import History
    from modaliasd.core.root.members import Fate
    from modaliasd.core.root.target import BlockDevice
    from modaliasd.core.root.words import RootWords


class Reason(Enum):
    """Why it is not there; the value is the ledger's word."""

    WORDS = "words"  # root= cannot be understood
    NO_DISK = "no_disk"
    DENIED = "denied"
    NO_DRIVER = "no_driver"  # the kernel has one, the image does not
    FAILED = "driver_failed"
    WAITING = "probe_waits"
    UNBOUND = "driver_refused"
    UNKNOWN_DEVICE = "kernel_has_no_driver"
    PROBING = "probe_goes_on"
    WRONG_NAME = "wrong_name"
    WRONG_KIND = "wrong_kind"  # the value is there, under another name than UUID=, LABEL= ...
    NOT_THERE = "not_there"
    NO_TAG = "no_such_share"
    UNREADABLE = "unreadable"
    MEMBER = "member"  # of an array, a volume group, or encrypted, and not opened
    LOCKED = "locked"  # encrypted, and no key fits
    NO_FILE_SYSTEM = "no_file_system"
    NO_MODULE = "file_system_not_in_image"
    NO_SUPPORT = "file_system_unknown"
    MODULE_REFUSED = "file_system_refused"  # denied, or its load failed
    DAMAGED = "damaged"  # fsck
    NOT_MOUNTED = "mount_failed"
    NO_INIT = "no_init"


class Facts(NamedTuple):
    """What was found. devices: all block devices, read. found: the one that root= means.

    stage: what could not be done with it (rootfs/mount.py), "" for nothing. types, modules, said: its file systems,
    their modules, and what was said. init, why: the first process, and what is wrong with it. stuck: modules whose
    loads do not end. absent: modules of the kernel that are not in the image, for a modalias. carried, of_kernel: names
    of the modules of the image, and of all its kernel has. tags: (file system, tag) of what the host shares. fates:
    what has become of members that nothing was made of.
    """

    words: RootWords
    devices: tuple[BlockDevice, ...] = ()
    found: BlockDevice | None = None
    stage: str = ""
    types: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    said: str = ""
    init: str = ""
    why: str = ""
    stuck: tuple[str, ...] = ()
    absent: Callable[[str], list[str]] = lambda _modalias: []
    carried: frozenset[str] = frozenset()
    of_kernel: frozenset[str] = frozenset()
    tags: tuple[tuple[str, str], ...] = ()
    fates: tuple[Fate, ...] = ()


class Diagnosis(NamedTuple):
    """The answer. sentence: the reason in words. details: a line each. fix: a command or a step, "" for none."""

    reason: Reason
    sentence: str
    details: tuple[str, ...] = ()
    fix: str = ""

    @property
    def status(self) -> int:
        """Return the exit status: 100 where the command line is wrong in itself, else 111."""
        return 100 if self.reason is Reason.WORDS else 111


_REASONS = {
    Fault.DENIED: Reason.DENIED,
    Fault.NOT_IN_IMAGE: Reason.NO_DRIVER,
    Fault.FAILED: Reason.FAILED,
    Fault.WAITING: Reason.WAITING,
    Fault.REFUSED: Reason.UNBOUND,
    Fault.PENDING: Reason.PROBING,
    Fault.UNKNOWN: Reason.UNKNOWN_DEVICE,
}


def diagnose(history: History, facts: Facts) -> Diagnosis:
    """Return why the root file system is not there."""
    target = facts.words.target
    if target is None:
        said = "; ".join(facts.words.problems) or "there is no root= on the kernel's command line"
        return Diagnosis(Reason.WORDS, f"{said}.", _came(facts), "root=UUID=..., as `blkid` prints it")
    if facts.stage:
        return _refused(history, facts)
    if facts.why:
        sentence = f"{facts.init} of {_name(facts)} cannot be the first process: {facts.why}."
        return Diagnosis(
            Reason.NO_INIT, sentence, ("It is mounted at /sysroot.",), "init=PATH, of a program there"
        )
    if facts.found is not None:
        return _unmountable(history, facts, facts.found)
    if target.by is By.TAG:
        return _no_tag(history, facts)
    return _not_found(history, facts)


def _not_found(history: History, facts: Facts) -> Diagnosis:
    target = facts.words.target
    assert target is not None
    idle = undriven(history, facts.absent)
    details = (*(f"{one.name} {one.sentence}" for one in idle), *_came(facts))
    if facts.stuck:
        sentence = f"The load of {', '.join(facts.stuck)} has not ended, and nothing else is on its way."
        return Diagnosis(
            Reason.PROBING, sentence, details, "wait for it: rootwait; modaliasd why " + facts.stuck[0]
        )
    hint = hint_for(target, facts.devices)
    if hint is not None:
        reason = Reason.WRONG_KIND if hint.kind is Hint.OTHER_KIND else Reason.WRONG_NAME
        return Diagnosis(reason, f"No device is {target}, but {hint.words}.", details, hint.fix)
    if idle:
        first = idle[0]
        sentence = f"No device is {target}. {first.name} {first.sentence}."
        return Diagnosis(_REASONS[first.fault], sentence, details[1:], first.fix)
    return _only_devices(history, facts, details)


def _only_devices(history: History, facts: Facts, details: tuple[str, ...]) -> Diagnosis:
    """Answer where every controller has its driver: it is about the devices that came."""
    target = facts.words.target
    members = [one for one in facts.devices if one.holds is not None and one.holds.type in MEMBERS]
    closed = {fate.node for fate in facts.fates}
    for one in members:
        if one.node in closed:
            return _member(history, facts, one, f"No device is {target}. ", details)
    unreadable = [one for one in facts.devices if one.error]
    if unreadable:
        one = unreadable[0]
        sentence = f"No device is {target}, and {one.node} cannot be read: {one.error}."
        return Diagnosis(Reason.UNREADABLE, sentence, details, "dmesg says what the disk answered")
    disks = [one for one in facts.devices if one.size and not one.disk]
    if not disks:
        sentence = f"No disk has come, and all that could bring one has its driver: {target} is not there."
        return Diagnosis(
            Reason.NO_DISK, sentence, details, "attach the disk; if it only comes late: rootwait"
        )
    count = f"{len(disks)} disk{'s' * (len(disks) > 1)} came"
    sentence = f"{count}, and none has {target}."
    return Diagnosis(
        Reason.NOT_THERE, sentence, details, "give root= as one of these; if it only comes late: rootwait"
    )


def _unmountable(history: History, facts: Facts, device: BlockDevice) -> Diagnosis:
    """Answer for a device that was found, and holds nothing that can be mounted."""
    if device.error:
        sentence = f"{device.node} is there and cannot be read: {device.error}."
        return Diagnosis(Reason.UNREADABLE, sentence, _came(facts), "dmesg says what the disk answered")
    if device.holds is not None and device.holds.type in MEMBERS:
        return _member(history, facts, device, "", _came(facts))
    if device.holds is not None:
        sentence = f"{device.node} holds {device.holds.type}, which is not a mountable file system."
        return Diagnosis(Reason.NO_FILE_SYSTEM, sentence, _came(facts), "give root= as one of these")
    parts = [one.node for one in facts.devices if one.disk and f"/dev/{one.disk}" == device.node]
    inside = f"; it has partitions: {', '.join(parts)}" if parts else ""
    sentence = f"{device.node} is there, and no file system that is known is on it{inside}."
    fix = (
        f"root={parts[0]}"
        if len(parts) == 1
        else "rootfstype=TYPE, if you know better; or make one: mke2fs, mkfs"
    )
    return Diagnosis(Reason.NO_FILE_SYSTEM, sentence, _came(facts), fix)


def _member(
    history: History, facts: Facts, device: BlockDevice, before: str, details: tuple[str, ...]
) -> Diagnosis:
    closed = why_closed(device, facts.fates, history, facts.carried)
    reason = Reason.LOCKED if closed.locked else Reason.MEMBER
    return Diagnosis(reason, f"{before}{closed.sentence}.", (*closed.details, *details), closed.fix)


def _refused(history: History, facts: Facts) -> Diagnosis:
    """Answer for a file system that was found and could not be mounted."""
    name, kinds = _name(facts), ", ".join(facts.types)
    if facts.stage == "module":
        return _no_support(history, facts)
    if facts.stage == "fsck":
        sentence = f"{name} ({kinds}) is damaged, and fsck did not repair it."
        fix = f"fsck.{facts.types[0]} {name}; or fsck.mode=skip, at your own risk"
        return Diagnosis(Reason.DAMAGED, sentence, _lines(facts.said), fix)
    holds = facts.found.holds if facts.found is not None else None
    other = f"; it holds {holds.type}" if holds is not None and holds.type not in facts.types else ""
    what = "The overlay" if facts.stage == "overlay" else f"{name}"
    sentence = f"{what} could not be mounted as {kinds}{other}."
    flags = facts.words.flags
    fix = f"rootfstype={holds.type}, or leave it out" if other and holds is not None else ""
    if not fix and flags:
        fix = f"look at rootflags={flags}: does {kinds} know them?"
    return Diagnosis(Reason.NOT_MOUNTED, sentence, _lines(facts.said), fix or "dmesg has the kernel's reason")


def _no_support(history: History, facts: Facts) -> Diagnosis:
    """Answer for a file system that the kernel does not know, whose module did not come."""
    from modaliasd.core.ledger.answers.fixes import fix_of, image_with

    name, kinds = _name(facts), ", ".join(facts.types)
    for module in facts.modules:
        load = history.load_of(module)
        if load is not None and not load.succeeded and module.replace("-", "_") in facts.carried:
            sentence = f"{name} holds {kinds}, and its module {module} is {load.outcome}: {load.message}."
            return Diagnosis(Reason.MODULE_REFUSED, sentence, (), fix_of(history, module, load))
    there = [module for module in facts.modules if module.replace("-", "_") in facts.of_kernel]
    if there:
        sentence = f"{name} holds {kinds}, and its module {there[0]} is not in this image."
        return Diagnosis(Reason.NO_MODULE, sentence, (), image_with(there[0]))
    sentence = f"{name} holds {kinds or 'nothing that is known'}, which this kernel cannot mount."
    return Diagnosis(Reason.NO_SUPPORT, sentence, (), "another kernel, or another file system")


def _no_tag(history: History, facts: Facts) -> Diagnosis:
    target = facts.words.target
    assert target is not None
    shared = [f"{system} {tag or '(the kernel does not say its tag)'}" for system, tag in facts.tags]
    idle = undriven(history, facts.absent)
    details = (*(f"{one.name} {one.sentence}" for one in idle), *(f"shared: {one}" for one in shared))
    if not shared and idle:
        first = idle[0]
        sentence = f"Nothing is shared as {target}. {first.name} {first.sentence}."
        return Diagnosis(_REASONS[first.fault], sentence, details[1:], first.fix)
    sentence = f"The host shares no directory of {target.system} with the tag {target}."
    return Diagnosis(
        Reason.NO_TAG, sentence, details, "look at the tag that the host gives (mount_tag=, tag=)"
    )


def _came(facts: Facts) -> tuple[str, ...]:
    """Return the devices that are there, a line each."""
    return tuple(f"there: {shown(one)}" for one in facts.devices if one.size or one.error)


def _name(facts: Facts) -> str:
    if facts.found is not None:
        return facts.found.node
    return str(facts.words.target)


def _lines(said: str) -> tuple[str, ...]:
    return tuple(line.strip() for part in said.splitlines() for line in part.split("; ") if line.strip())
