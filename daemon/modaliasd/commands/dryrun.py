"""What a coldplug would come to, as text for people and as JSON for programs (docs/full-systems.md)."""

from __future__ import annotations

from modaliasd.core.ledger.text import shorten
from modaliasd.core.loading.outcome import Outcome
from modaliasd.core.printable import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from modaliasd.commands.machine import Machine, Rehearsal
    from modaliasd.core.device import Device
    from modaliasd.core.loading.load import Load

FORMAT = 1
_WIDTH = 60  # columns of a pattern or a modalias: a CPU's has a thousand
_DONE = (Outcome.INSERTED, Outcome.COMMAND)
_REFUSED = (Outcome.DENIED, Outcome.FAILED)


def as_text(machine: Machine, rehearsal: Rehearsal, *, everything: bool = False) -> str:
    """Return it as lines. everything: name also the modules that are in already, and the devices without a match."""
    would = [load for load in rehearsal.loads if _outcome(load) in _DONE]
    refused = [load for load in rehearsal.loads if _outcome(load) in _REFUSED]
    live = [load for load in rehearsal.loads if _outcome(load) is Outcome.LIVE]
    names = {device.devpath: device.ifname or device.devname for device in rehearsal.devices}
    lines = [
        f"{_count(len(would), 'module')} would be loaded, of {machine.modules_dir}{', first to last:' if would else ''}"
    ]
    lines += _rows(would, names)
    if refused:
        lines += [f"{_count(len(refused), 'module')} would be asked for in vain:"]
        lines += [f"    {load.module}: {load.result.message}" for load in refused if load.result is not None]
    if live:
        lines += [
            f"{_count(len(live), 'module')} that devices ask for {'is' if len(live) == 1 else 'are'} loaded already"
        ]
        lines[-1] += ":" if everything else ""
        lines += _rows(live, names) if everything else []
    tally = rehearsal.tally
    lines += [
        f"{_count(tally.devices, 'device')}, {tally.with_modalias} with a modalias, {tally.matched} matched, "
        f"{tally.bound} with a driver"
    ]
    if rehearsal.unmatched and everything:
        lines += [
            f"{_count(len(rehearsal.unmatched), 'device')} that nothing matches, neither a module nor the kernel:"
        ]
        lines += [f"    {_device_text(device)}" for device in rehearsal.unmatched]
    elif rehearsal.unmatched:
        lines[-1] += f"; --all names the {len(rehearsal.unmatched)} without a match"
    for problem in rehearsal.problems:
        place = f"{problem.file}:{problem.line}" if problem.line else problem.file
        lines.append(f"note: {place}: {problem.message}")
    return "".join(f"{printable(line)}\n" for line in lines)


def as_json(machine: Machine, rehearsal: Rehearsal) -> str:
    """Return it as one line of JSON."""
    from json import dumps

    by_outcome: dict[str, list[dict[str, Any]]] = {"would_load": [], "refused": [], "loaded": []}
    for load in rehearsal.loads:
        outcome = _outcome(load)
        kind = "would_load" if outcome in _DONE else "refused" if outcome in _REFUSED else "loaded"
        by_outcome[kind].append(_fields(load))
    fields = {
        "type": "dry-run",
        "format": FORMAT,
        "modules_dir": machine.modules_dir,
        **by_outcome,
        "unmatched": [
            {"devpath": one.devpath, "subsystem": one.subsystem, "modalias": one.modalias}
            for one in rehearsal.unmatched
        ],
        "counts": rehearsal.tally._asdict(),
        "problems": [problem._asdict() for problem in rehearsal.problems],
    }
    return dumps(fields) + "\n"


def _fields(load: Load) -> dict[str, Any]:
    result = load.result
    assert result is not None, "it was told"
    fields: dict[str, Any] = {
        "module": load.module,
        "causes": [cause.fields() for cause in load.causes],
        "deps": list(load.before),
        "message": result.message,
        "failure": result.failure.value if result.failure is not None else "",
    }
    return {key: value for key, value in fields.items() if value or key == "causes"}


def _rows(loads: Iterable[Load], names: dict[str, str]) -> list[str]:
    """Return a line for each load: the module, for whom, by which line."""
    loads = list(loads)
    width = max((len(load.module) for load in loads), default=0)
    rows = []
    for load in loads:
        cause = load.causes[0]
        others = len({one.devpath for one in load.causes if one.devpath}) - 1 if cause.devpath else 0
        shown = cause._replace(alias=shorten(cause.alias, _WIDTH))
        text = shown.in_short(names.get(cause.devpath, ""), others + load.more_causes)
        place = f"  ({cause.place})" if cause.place else ""
        runs = f", {load.result.message}" if load.result is not None and load.result.message else ""
        rows.append(f"    {load.module:<{width}}  {text}{place}{runs}")
    return rows


def _device_text(device: Device) -> str:
    name = device.devpath.rpartition("/")[2]
    driven = f", driven by {device.driver}" if device.driver else ""
    return f"{device.subsystem} {name}  {shorten(device.modalias, _WIDTH)}{driven}".strip()


def _outcome(load: Load) -> Outcome:
    assert load.result is not None, "it was told"
    return load.result.outcome


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
