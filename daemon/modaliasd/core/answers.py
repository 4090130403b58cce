"""Why a module was loaded, what became of a device, why a module was not loaded: the answers as values.

    why_module(story, "sd_mod")        -> WhyModule, or None where the ledger has never heard of it
    find_devices(story, "vda")         -> the devices that a devpath, a /dev node or an interface names
    why_device(story, device)          -> WhyDevice
    why_not(story, "e1000", facts)     -> WhyNot: one Reason, the words, what mends it

answertext.py turns them into text. Pure: what only the running machine knows (its module tree, suppliers that
a device waits for) comes in as ModuleFacts.
"""

from __future__ import annotations

from modaliasd.core.errors import FormatError
from modaliasd.core.fixes import fix_of, image_with
from modaliasd.core.glob import matches
from modaliasd.core.lean import Choice, Record
from modaliasd.core.names import normalize_alias
from modaliasd.core.outcome import FailureKind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from modaliasd.core.plan import Match
    from modaliasd.core.story import Story
    from modaliasd.core.storyvalues import Appearance, DeviceStory, LoadStory


class Asker(Record):
    """A device whose modalias matched the module."""

    device: DeviceStory
    match: Match


class WhyModule(Record):
    """Everything that speaks for a module.

    load: how it was loaded; None if it came by itself (`appearance`) or is only matched so far.
    askers: devices whose modalias it matches, the first to ask first. needed_by: modules that had it loaded
    because they depend on it; softdep_of: because they name it in a softdep; requests: who asked by name.
    drives: the devices its drivers drive.
    """

    module: str
    load: LoadStory | None
    appearance: Appearance | None
    askers: tuple[Asker, ...]
    needed_by: tuple[str, ...]
    softdep_of: tuple[str, ...]
    requests: tuple[str, ...]
    drives: tuple[DeviceStory, ...]


class Became(Choice):
    """What became of a module that a device asked for."""

    LOADED = "loaded"  # this device asked first
    ALREADY = "in already"  # somebody else had asked, or it was there
    BUILTIN = "built in"
    REFUSED = "refused"  # denied
    FAILED = "failed"
    NO_DEVICE = "no device"
    PENDING = "not ended"


class Chosen(Record):
    """A match of a device, with what became of its module. drives: is its driver the device's?"""

    match: Match
    became: Became
    load: LoadStory | None
    drives: bool


class WhyDevice(Record):
    """A device's way: its matches, what became of each, and its driver's module ("" if built in or none).

    above: its known ancestors, nearest first.
    """

    device: DeviceStory
    chosen: tuple[Chosen, ...]
    driver_module: str
    above: tuple[DeviceStory, ...]


class Reason(Choice):
    """Why a module is not at work."""

    AT_WORK = "it is loaded and drives a device"
    SERVES = "it is loaded: other modules need it"
    BUILTIN = "it is part of the kernel"
    NO_DEVICE = "no device here asks for it"
    DENIED = "it is denied"
    MISSING = "it is not in this image"
    UNBOUND = "it is loaded but drives nothing"
    WAITING = "its device waits for a supplier"
    FAILED = "its load failed"
    LEFT = "its init found nothing to drive and it left again"
    PENDING = "its load has not ended"
    UNKNOWN = "there is no such module"


class ModuleFacts(Record):
    """What the running machine (or an unpacked image) knows of a module; None where nobody could look.

    in_tree: is its file listed in modules.dep? builtin: in modules.builtin? aliases: its patterns in
    modules.alias. waiting: devpaths of devices that wait for a supplier, with the suppliers' names.
    """

    in_tree: bool | None = None
    builtin: bool = False
    aliases: tuple[str, ...] = ()
    waiting: Mapping[str, tuple[str, ...]] = {}


class WhyNot(Record):
    """The answer: reason, the details in whole sentences, the command or step that mends it ("" for none)."""

    module: str
    reason: Reason
    details: tuple[str, ...]
    mend: str = ""


def why_module(story: Story, module: str) -> WhyModule | None:
    """What speaks for the module; None where the ledger does not know its name."""
    name = module.replace("-", "_")
    load, appearance = story.load_of(name), story.appearance_of(name)
    askers = [Asker(device, match) for device, match in story.askers(name)]
    if load is None and appearance is None and not askers:
        return None
    causes = load.causes if load is not None else ()
    first = load.asker if load is not None else ""
    askers.sort(key=lambda asker: (asker.device.devpath != first, asker.device.seen_us))
    return WhyModule(
        load.module if load is not None else name,
        load,
        appearance,
        tuple(askers),
        _once(cause.module for cause in causes),
        _once(cause.softdep for cause in causes),
        _once(cause.request for cause in causes),
        tuple(story.driven_by(name)),
    )


def _once(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in names if name))


def find_devices(story: Story, name: str) -> list[DeviceStory]:
    """The devices that `name` means: a devpath, with or without /sys, a /dev node, an interface, a last part.

    Devices that are there go before those that went. Empty where nothing is called so.
    """
    path = name.removeprefix("/sys").rstrip("/")
    if path in story.devices:
        return [story.devices[path]]
    node = name.removeprefix("/dev/")
    found = [d for d in story.devices.values() if name == d.ifname or (d.devname and node == d.devname)]
    if not found:
        found = [d for d in story.devices.values() if d.name == name]
    if not found and "/" in name:
        found = [d for d in story.devices.values() if d.devpath.endswith("/" + path.lstrip("/"))]
    present = [device for device in found if device.present]
    return present or found


def why_device(story: Story, device: DeviceStory) -> WhyDevice:
    """What the ledger tells of the device."""
    driver_module = device.module
    above: list[DeviceStory] = []
    parent = story.devices.get(device.parent)
    while parent is not None:
        above.append(parent)
        parent = story.devices.get(parent.parent)
    chosen = tuple(_chosen(story, device, match, driver_module) for match in device.matches)
    return WhyDevice(device, chosen, driver_module, tuple(above))


def _chosen(story: Story, device: DeviceStory, match: Match, driver_module: str) -> Chosen:
    load = story.load_of(match.module)
    drives = driver_module == match.module.replace("-", "_") and bool(driver_module)
    if match.builtin or (load is not None and load.outcome == "builtin"):
        return Chosen(match, Became.BUILTIN, load, drives)
    if load is None:
        here = story.appearance_of(match.module)
        became = Became.ALREADY if here is not None and here.came else Became.PENDING
        return Chosen(match, became, None, drives)
    if not load.succeeded:
        return Chosen(match, _UNSUCCESSFUL.get(load.outcome, Became.FAILED), load, drives)
    first = load.asker == device.devpath and load.outcome == "inserted"
    by_dependency = bool(load.causes) and not load.causes[0].devpath
    return Chosen(match, Became.LOADED if first and not by_dependency else Became.ALREADY, load, drives)


_UNSUCCESSFUL = {"denied": Became.REFUSED, "nodevice": Became.NO_DEVICE}


def why_not(story: Story, module: str, facts: ModuleFacts) -> WhyNot:
    """Why the module is not loaded, or not at work."""
    name = module.replace("-", "_")
    why = why_module(story, name)
    if why is not None and why.load is not None and not why.load.succeeded:
        return _not_loaded(story, name, why.load, why)
    if facts.builtin or (why is not None and why.load is not None and why.load.outcome == "builtin"):
        details = ["It is compiled into the kernel: there is nothing to load."]
        return WhyNot(name, Reason.BUILTIN, tuple(details + _driven(why)))
    if why is not None and (why.load is not None or _came(why)):
        return _loaded(story, name, why, facts)
    if why is not None:
        words = f"{_devices(why.askers)} matched it, and the ledger has no end of its load yet."
        return WhyNot(name, Reason.PENDING, (words,), "modaliasd settle; modaliasd status")
    return _not_asked_for(story, name, facts)


def _came(why: WhyModule) -> bool:
    return why.appearance is not None and why.appearance.came


def _not_loaded(story: Story, name: str, load: LoadStory, why: WhyModule) -> WhyNot:
    asked = f"{_devices(why.askers)} asked for it." if why.askers else ""
    details = tuple(word for word in (asked, load.message) if word)
    if load.outcome == "denied":
        return WhyNot(name, Reason.DENIED, details, fix_of(story, name, load))
    if load.outcome == "nodevice":
        return WhyNot(name, Reason.LEFT, details)
    missing = load.failure is FailureKind.NOT_IN_IMAGE
    return WhyNot(name, Reason.MISSING if missing else Reason.FAILED, details, fix_of(story, name, load))


def _loaded(story: Story, name: str, why: WhyModule, facts: ModuleFacts) -> WhyNot:
    if why.drives:
        return WhyNot(name, Reason.AT_WORK, tuple(_driven(why)))
    wanted = why.needed_by + why.softdep_of
    users = _once([*wanted, *(load.module for load in story.loads if name in load.deps and load.succeeded)])
    if users:
        return WhyNot(
            name, Reason.SERVES, (f"Loaded because {', '.join(users)} need{'s' * (len(users) == 1)} it.",)
        )
    details: list[str] = []
    waiting = [asker.device for asker in why.askers if asker.device.devpath in facts.waiting]
    for device in waiting:
        suppliers = ", ".join(facts.waiting[device.devpath]) or "which the kernel does not name"
        details.append(f"{device.devpath} waits for its supplier: {suppliers}.")
    if waiting:
        return WhyNot(
            name, Reason.WAITING, tuple(details), "find what drives the supplier: modaliasd why SUPPLIER"
        )
    for device, _match in why.askers:
        if not device.present:
            details.append(f"{device.devpath} asked for it, and is gone.")
        elif device.driver:
            details.append(f"{device.devpath} asked for it, and is driven by {device.driver}.")
        elif device.former:
            details.append(f"{device.devpath} asked for it; {device.former} had it, and has let go of it.")
        elif device.idle_drivers:
            drivers = ", ".join(device.idle_drivers)
            details.append(f"{device.devpath} asked for it; its driver ({drivers}) did not take the device.")
        else:
            details.append(f"{device.devpath} asked for it; it brought no driver for that bus.")
    if not why.askers:
        details.append(
            "It came without a device that asked for it: the kernel, or somebody by name, wanted it."
        )
    mend = (
        "dmesg says why a probe failed"
        if any(a.device.idle_drivers and not a.device.former for a in why.askers)
        else ""
    )
    return WhyNot(name, Reason.UNBOUND, tuple(details), mend)


def _not_asked_for(story: Story, name: str, facts: ModuleFacts) -> WhyNot:
    """The ledger does not know the name: is there such a module, and whom would it be for?"""
    devices = [device for device in story.devices.values() if device.modalias and device.present]
    wanting = [d for d in devices if any(_matches(alias, d.modalias) for alias in facts.aliases)]
    if wanting:
        names = ", ".join(device.devpath for device in wanting[:3])
        if facts.in_tree:
            words = f"Its aliases match {names}, and the daemon has not asked for it: its index may be old."
            return WhyNot(name, Reason.PENDING, (words,), "modaliasd coldplug")
        return WhyNot(name, Reason.MISSING, (f"{names} would ask for it.",), image_with(name))
    unmatched = sum(not device.matches for device in devices)
    if facts.in_tree is False:
        details = (
            f"modules.dep does not list it. Of {len(devices)} modaliases here, {unmatched} have no match.",
            "If it is a module of this kernel, an image that has it tells whether one of them is for it.",
        )
        return WhyNot(name, Reason.MISSING, details, image_with(name))
    if facts.in_tree is None:
        details = (
            f"{len(devices)} devices have a modalias, {unmatched} without a match; none matched this module.",
            "Whether the image has it, the ledger does not tell: ask in the guest, or with --modules-dir.",
        )
        return WhyNot(name, Reason.NO_DEVICE, details)
    mend = f"modaliasd load {name} (if you want it all the same)"
    if not facts.aliases:
        words = "It has no aliases: it is loaded by name, or because another module needs it."
        return WhyNot(name, Reason.NO_DEVICE, (words,), mend)
    buses = ", ".join(sorted({alias.partition(":")[0] for alias in facts.aliases}))
    details = (
        f"{len(devices)} devices here have a modalias; none of them matches one of its aliases.",
        f"It has {len(facts.aliases)} aliases, for {buses}; the first is {facts.aliases[0]}.",
    )
    return WhyNot(name, Reason.NO_DEVICE, details, mend)


def _matches(alias: str, modalias: str) -> bool:
    try:
        pattern, text = _normal(alias), _normal(modalias)
    except FormatError:
        return False
    return matches(pattern, text)


def _normal(text: str) -> str:
    return normalize_alias(text.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")


def _driven(why: WhyModule | None) -> list[str]:
    return [f"It drives {device.devpath}." for device in (why.drives if why is not None else ())]


def _devices(askers: tuple[Asker, ...]) -> str:
    first = askers[0].device.devpath if askers else "somebody"
    return first if len(askers) < 2 else f"{first} and {len(askers) - 1} more"
