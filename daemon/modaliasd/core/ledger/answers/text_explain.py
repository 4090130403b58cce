"""The answers of explain.py and explain_not.py as text for people."""

from __future__ import annotations

from modaliasd.core.ledger.answers.explain import Became
from modaliasd.core.ledger.answers.explain_not import GOOD, may_ask_lines
from modaliasd.core.ledger.devicetree import explain
from modaliasd.core.ledger.text import UNTIMED, cause_text, duration, style_of
from modaliasd.core.loading.cause import NEEDS, SOFTDEP
from modaliasd.core.printable import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from modaliasd.core.kmod.plan import Match
    from modaliasd.core.kmod.tables import MayAsk
    from modaliasd.core.ledger.answers.explain import Chosen, WhyDevice, WhyModule
    from modaliasd.core.ledger.answers.explain_not import WhyNot
    from modaliasd.core.ledger.history import DeviceHistory, History, LoadHistory

NEXT, AND = "\n", " and "  # between the modaliases of a device that has several
_MORE = 12  # askers beyond this number are counted only


def module_text(
    history: History,
    why: WhyModule,
    *,
    may_ask: Iterable[MayAsk] = (),
    taint: str = "",
    color: bool = False,
) -> str:
    """Why a module is there, as lines. may_ask: who may have had the kernel ask for it. taint: how it taints that."""
    style = style_of(color)
    lines = [f"{style('module', printable(why.module))}  {_load_head(why, color)}"]
    for users, what in ((why.needed_by, NEEDS), (why.softdep_of, SOFTDEP)):
        lines += [f"  {style('module', printable(u))} {what}{_reason_for(history, u)}" for u in users]
    for who in why.requests:
        word = next((cause.alias for cause in why.causes if cause.request == who and cause.alias), "")
        lines.append(f"  {printable(who)} asked for it by name" + (f": {printable(word)}" if word else ""))
    for device, match in why.askers[:_MORE]:
        lines.append(f"  {style('name', _device_name(device))} {_asked_at(device)}")
        lines.append(style("faint", f"    modalias  {printable(device.modalias.replace(NEXT, AND))}"))
        lines.append(f"    alias     {printable(f'{match.alias}  {match.place}')}".rstrip())
        if node := explain(device.modalias, match.alias):
            lines.append(f"    which is  {printable(node)}")
    if len(why.askers) > _MORE:
        lines.append(f"  and {len(why.askers) - _MORE} devices more")
    observed = why.load is not None and why.load.outcome == "observed"
    if (
        not why.causes
        and not why.askers
        and not why.needed_by
        and (observed or (why.load is None and why.appearance is not None))
    ):
        rule = ", a rule of udev's," if history.watched else ","
        lines.append(
            f"  no device's modalias asked for it: the kernel did (request_module){rule} or somebody by hand"
        )
    lines += [f"  {printable(line)}" for line in may_ask_lines(may_ask)]
    if why.load is not None:
        lines += _load_lines(why.load)
    lines += [f"  {taint}"] if taint else []
    lines += [f"  {style('driver', 'drives')} {_device_name(device)}" for device in why.drives[:_MORE]]
    if not why.drives and why.load is not None and why.load.succeeded and why.askers:
        lines.append(f"  {style('warn', 'drives no device')} that the ledger knows of")
    return "".join(f"{line}\n" for line in lines)


def _reason_for(history: History, module: str) -> str:
    """Why the module that needs another was loaded itself."""
    load = history.load_of(module)
    return f", {cause_text(history, load)}" if load is not None and load.causes else ""


def _asked(history: History, match: Match) -> str:
    load = history.load_of(match.module)
    state = f" ({printable(load.outcome)})" if load is not None and not load.succeeded else ""
    return f"{printable(match.module)}{state} by {printable(match.alias)}"


def _load_head(why: WhyModule, color: bool) -> str:
    style, load = style_of(color), why.load
    if load is None:
        if why.appearance is None:
            return style("warn", "asked for, not loaded yet")
        verb = "came by itself" if why.appearance.came else "was removed"
        return f"{verb} at {duration(why.appearance.t_us)}"
    if not load.succeeded:
        return style("bad", printable(load.outcome)) + (
            f": {printable(load.message)}" if load.message else ""
        )
    if load.own_us < 0:
        return UNTIMED.get(load.outcome, printable(load.outcome))
    return f"loaded at {duration(load.start_us)} in {duration(load.own_us)}"


def _load_lines(load: LoadHistory) -> list[str]:
    lines = []
    if load.deps:
        lines.append(f"  needs {', '.join(map(printable, load.deps))}")
    if load.outcome == "observed" and load.start_us >= 0:
        waited = load.start_us - load.queued_us
        after = f", {duration(waited)} after it was first asked for" if waited > 0 else ""
        lines.append(f"  somebody else had it loaded{after}")
    elif load.start_us >= 0 and load.queued_us >= 0:
        lines.append(
            f"  queued at {duration(load.queued_us)}, started {duration(load.start_us - load.queued_us)} "
            f"later; its modprobe ended {duration(load.end_us - load.start_us)} after that"
        )
    return lines


def device_text(history: History, why: WhyDevice, *, color: bool = False) -> str:
    """Return what became of a device, as lines."""
    style, device = style_of(color), why.device
    lines = [f"{style('name', _device_name(device))}  {style('faint', printable(device.devpath))}"]
    seen = f"seen at {duration(device.seen_us)}" if device.seen_us >= 0 else "here"
    lines.append(f"  {seen}" + _bound(device, why.driver_module))
    if not device.modalias:
        lines.append("  it has no modalias: it asks for no module")
    else:
        lines.append(f"  modalias  {printable(device.modalias.replace(NEXT, AND))}")
    if device.modalias and not why.chosen:
        where = "among this kernel's modules" if history.watched else "in this image"
        lines.append(f"  {style('warn', 'no alias matches it')} {where}")
    for chosen in why.chosen:
        lines.append(f"  alias     {printable(f'{chosen.match.alias}  {chosen.match.place}')}".rstrip())
        if node := explain(device.modalias, chosen.match.alias):
            lines.append(f"  which is  {printable(node)}")
        became = style("warn", "is not loaded") if _is_unloaded(history, chosen) else _became(chosen, color)
        lines.append(f"    {style('module', printable(chosen.match.module))}  {became}")
    if device.former:
        now = "and has let go of it" if device.present else "until it was removed"
        lines.append(f"  {printable(device.former)} had it, {now}")
    elif device.idle_drivers:
        lines.append(
            f"  {style('warn', 'unbound')}: {', '.join(map(printable, device.idle_drivers))} did not take it"
        )
    below, bus = "it", device.subsystem
    for above in why.above:
        # of a row of one bus (a PCI card, its bridges) the nearest is told, even if its driver is inside the kernel
        nearest = bool(above.driver) and above.subsystem != bus
        if nearest or above.bound_us >= 0 or any(not match.builtin for match in above.matches):
            lines.append(f"  {below} hangs on {style('name', _device_name(above))}{_bound(above, '')}")
            lines += [f"    which asked for {_asked(history, match)}" for match in above.matches]
            below, bus = "which", above.subsystem
    return "".join(f"{line}\n" for line in lines)


def _bound(device: DeviceHistory, module: str) -> str:
    whose = f" (module {printable(module)})" if module else ""
    text = ""
    if device.driver:
        text = f", driven by {printable(device.driver)}{whose}"
        if device.bound_us >= 0:
            text += f" since {duration(device.bound_us)}"
    if not device.present:
        text += f", gone at {duration(device.gone_us)}"
    return text


def _became(chosen: Chosen, color: bool) -> str:
    style, load = style_of(color), chosen.load
    message = f": {printable(load.message)}" if load is not None and load.message else ""
    texts = {
        Became.LOADED: f"loaded in {duration(load.own_us)}" if load is not None else "loaded",
        Became.ALREADY: "was in already" + _who_first(load),
        Became.BUILTIN: "is built into the kernel",
        Became.REFUSED: style("bad", "denied") + message,
        Became.FAILED: style("bad", "failed") + message,
        Became.NO_DEVICE: "left again" + message,
        Became.PENDING: style("warn", "its load has not ended"),
    }
    return texts[chosen.became] + (style("driver", ", drives it") if chosen.drives else "")


def _is_unloaded(history: History, chosen: Chosen) -> bool:
    """Return whether nobody has loaded it, of which a daemon that loads would know the end to come."""
    return history.watched and chosen.became is Became.PENDING


def _asked_at(device: DeviceHistory) -> str:
    return f"asked for it at {duration(device.seen_us)}" if device.seen_us >= 0 else "asks for it"


def _who_first(load: LoadHistory | None) -> str:
    if load is None or not load.causes:
        return ""
    cause = load.causes[0]
    if cause.devpath:
        return printable(f" ({cause.devpath.rpartition('/')[2]} asked first)")
    return printable(f" ({cause.who} had it loaded)")


def why_not_text(answer: WhyNot, *, color: bool = False) -> str:
    """Why a module is not at work, as lines."""
    style = style_of(color)
    reason = style("driver" if answer.reason in GOOD else "warn", answer.reason.value)
    lines = [f"{style('module', printable(answer.module))}: {reason}"]
    lines += [f"  {printable(detail)}" for detail in answer.details]
    if answer.fix:
        lines.append(f"  fix: {printable(answer.fix)}")
    return "".join(f"{line}\n" for line in lines)


def _device_name(device: DeviceHistory) -> str:
    node = device.node
    name = node if device.ifname or device.devname else device.name
    known = f"{device.subsystem} {device.name}" if device.subsystem else device.name
    return printable(known if name == device.name else f"{known} ({name})")
