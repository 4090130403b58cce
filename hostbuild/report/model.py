"""What a report shows, as one JSON-able value: the history, its episodes, slowest loads, failures, unused
modules.

Times are microseconds of CLOCK_BOOTTIME, -1 where unknown. An episode is the time up to a settle: the first
is the coldplug, each later one a hotplug. Devices stand in the order of the tree, parents before their
children.
"""

from bisect import bisect_left
from collections.abc import Iterator
from typing import Any

from hostbuild.report.kinds import kind_of_device, kind_of_load
from modaliasd.core.ledger.answers.explain_not import ModuleFacts, WhyNot, why_not
from modaliasd.core.ledger.devicetree import node_fields
from modaliasd.core.ledger.history import DeviceHistory, History, LoadHistory
from modaliasd.core.ledger.text import cause_text
from modaliasd.core.loading.cause import Cause

FORMAT = 1
SLOWEST = 10


def make_model(history: History, manifest: dict[str, Any] | None = None, title: str = "") -> dict[str, Any]:
    """Everything that a report shows. manifest: that of the image which was booted, if it is at hand."""
    order = list(_in_tree_order(history))
    index = {device.devpath: at for at, device in enumerate(order)}
    return {
        "format": FORMAT,
        "title": title,
        "kernel": history.start.get("kernel", ""),
        "version": history.start.get("version", ""),
        "started": history.started_us,
        "settled": history.settled_us,
        "last": history.last_us,
        "counts": counts(history),
        "phases": phases(history),
        "initcalls": [dict(row) for row in history.boot.get("initcalls", ())],
        "episodes": list(_episodes(history)),
        "devices": [_device(history, device, index) for device in order],
        "loads": [_load(history, load, index) for load in history.loads],
        "appearances": [{"module": a.module, "at": a.t_us, "came": a.came} for a in history.appearances],
        "slowest": [load.module for load in slowest(history)],
        "failures": failures(history),
        "losses": [dict(record) for record in history.losses],
        "warnings": [dict(record) for record in history.warnings],
        "unused": unused(history, manifest) if manifest is not None else None,
    }


def counts(history: History) -> dict[str, int]:
    """Return what stands there now, in numbers, as the daemon counts at a settle; each is shown wherever it is named.

    loaded: modules that came, by the daemon or under its eyes, each once; went: devices that have gone.
    """
    present = [device for device in history.devices.values() if device.present]
    came = {load.module for load in history.loads if load.outcome in ("inserted", "observed")}
    return {
        "devices": len(present),
        "went": len(history.devices) - len(present),
        "matched": sum(any(not match.builtin for match in device.matches) for device in present),
        "bound": sum(bool(device.driver) for device in present),
        "loaded": len(came),
    }


def phases(history: History) -> list[dict[str, Any]]:
    """Return the boot's phases from the kernel's start to the first settle, each with its name and times.

    What the kernel did the ledger's `boot` line tells; without one all before the daemon is a single phase. Those that
    are part of another, the unpacking of the initramfs, have `inside`.
    """
    started, settled = history.started_us, history.settled_us
    if started <= 0:
        return []
    init = history.boot.get("init_us", 0)
    found: list[dict[str, Any]] = []
    if 0 < init <= started:
        found += [{"name": "kernel", "from": 0, "to": init}]
        unpack, unpacked = history.boot.get("unpack_us", 0), history.boot.get("unpacked_us", 0)
        if 0 < unpack <= unpacked <= init:
            found.append({"name": "initramfs unpacked", "from": unpack, "to": unpacked, "inside": True})
        found.append({"name": "init", "from": init, "to": started})
    else:
        found.append({"name": "kernel and init", "from": 0, "to": started})
    if settled >= started:
        found.append({"name": "devices", "from": started, "to": settled})
    return found


def slowest(history: History) -> list[LoadHistory]:
    """Return the ten loads whose own insertion took longest, the longest first."""
    timed = [load for load in history.loads if load.own_us >= 0]
    return sorted(timed, key=lambda load: (-load.own_us, load.module))[:SLOWEST]


def failures(history: History) -> list[dict[str, Any]]:
    """Return loads that came to nothing and devices that no driver took, each with its cause and fix."""
    rows: list[dict[str, Any]] = []
    answers: dict[str, WhyNot] = {}
    for load in history.loads:
        if load.succeeded:
            continue
        if load.module not in answers:
            answers[load.module] = why_not(history, load.module, ModuleFacts())
        answer = answers[load.module]
        row = {"what": load.module, "outcome": load.outcome, "why": list(answer.details), "fix": answer.fix}
        rows.append(row)
    for device in history.devices.values():
        if device.idle_drivers and device.present:
            why = [f"{', '.join(device.idle_drivers)} did not take it."]
            if device.former:
                why = [f"{device.former} had it, and has let go of it."]
            fix = "dmesg says why a probe failed"
            rows.append({"what": device.devpath, "outcome": "unbound", "why": why, "fix": fix})
    return rows


def unused(history: History, manifest: dict[str, Any]) -> dict[str, Any]:
    """Return the image's modules that were never in the kernel, the largest first; sizes in bytes."""
    used = {load.module for load in history.loads if load.succeeded}
    used |= {appearance.module for appearance in history.appearances}
    rows = [
        {"module": str(row["name"]), "size": int(row["size"]), "path": str(row.get("path", ""))}
        for row in manifest.get("modules", ())
        if str(row["name"]).replace("-", "_") not in used
    ]
    rows.sort(key=lambda row: (-int(str(row["size"])), row["module"]))
    return {"carried": len(manifest.get("modules", ())), "modules": rows}


def _in_tree_order(history: History) -> Iterator[DeviceHistory]:
    waiting = list(reversed(history.roots()))
    while waiting:
        device = waiting.pop()
        yield device
        waiting += [history.devices[path] for path in reversed(device.children)]


def _device(history: History, device: DeviceHistory, index: dict[str, int]) -> dict[str, Any]:
    return {
        "path": device.devpath,
        "name": device.name,
        "subsystem": device.subsystem,
        "node": device.node,
        "modalias": device.modalias,
        "driver": device.driver,
        "former": device.former,
        "driver_module": device.module,
        "seen": device.seen_us,
        "bound": device.bound_us,
        "gone": device.gone_us,
        "parent": index.get(device.parent, -1),
        "kind": kind_of_device(device).value,
        "tells": history.matters(device),
        "idle_drivers": list(device.idle_drivers),
        "device_tree": node_fields(device.modalias, (m.alias for m in device.matches), device.of_node),
        "matches": [
            {"alias": m.alias, "line": m.line, "place": m.place, "module": m.module, "builtin": m.builtin}
            for m in device.matches
        ],
    }


def _load(history: History, load: LoadHistory, index: dict[str, int]) -> dict[str, Any]:
    is_last = (
        history.load_of(load.module) is load
    )  # an earlier load of the same module has its own causes only
    askers = [device.devpath for device, _match in history.askers(load.module)] if is_last else load.askers
    drives = history.driven_by(load.module) if is_last else []
    first = history.devices.get(load.asker)
    return {
        "module": load.module,
        "outcome": load.outcome,
        "succeeded": load.succeeded,
        "message": load.message,
        "kind": kind_of_load(history, load).value,
        "seen": first.seen_us if first is not None else -1,
        "queued": load.queued_us,
        "start": load.start_us,
        "end": load.end_us,
        "own": load.own_us,
        "deps": list(load.deps),
        "brought": list(load.brought if is_last else ()),
        "causes": [_cause(cause) for cause in load.causes],
        "because": cause_text(history, load, with_alias=False),
        "askers": [index[devpath] for devpath in askers if devpath in index],
        "drives": [index[device.devpath] for device in drives],
    }


def _cause(cause: Cause) -> dict[str, Any]:
    return cause.fields() | {"text": cause.in_short()} | ({"place": cause.place} if cause.place else {})


def _episodes(history: History) -> Iterator[dict[str, Any]]:
    """Yield the times between settles in which a device with a modalias came or went, or a module was wanted."""
    moments = sorted(
        [device.seen_us for device in history.devices.values() if device.modalias]
        + [device.gone_us for device in history.devices.values() if device.modalias and not device.present]
        + [load.queued_us for load in history.loads if load.queued_us >= 0]
    )
    begin = history.started_us
    ends = [settle.t_us for settle in history.settles]
    if not ends or history.last_us > ends[-1]:
        ends.append(history.last_us)
    number = 0
    for end in ends:
        at = bisect_left(moments, begin)
        inside = at < len(moments) and moments[at] <= end
        if inside or number == 0:
            first = begin if number == 0 else moments[at]
            yield {"name": f"Hotplug {number}" if number else "Coldplug", "from": first, "to": end}
            number += 1
        begin = end + 1
