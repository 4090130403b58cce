"""What a report shows, as one JSON-able value: the story, its episodes, slowest loads, failures, unused
modules.

Times are microseconds of CLOCK_BOOTTIME, -1 where unknown. An episode is the time up to a settle: the first
is the coldplug, each later one a hotplug. Devices stand in the order of the tree, parents before their
children.
"""

from collections.abc import Iterator
from typing import Any

from hostbuild.report.kinds import kind_of_device, kind_of_load
from modaliasd.core.cause import Cause
from modaliasd.core.story import DeviceStory, LoadStory, Story
from modaliasd.core.treetext import tells
from modaliasd.core.whynot import ModuleFacts, why_not
from modaliasd.core.words import cause_text, node_of

FORMAT = 1
SLOWEST = 10


def make_model(story: Story, manifest: dict[str, Any] | None = None, title: str = "") -> dict[str, Any]:
    """Everything that a report shows. manifest: that of the image which was booted, if it is at hand."""
    order = list(_in_tree_order(story))
    index = {device.devpath: at for at, device in enumerate(order)}
    return {
        "format": FORMAT,
        "title": title,
        "kernel": story.start.get("kernel", ""),
        "version": story.start.get("version", ""),
        "started": story.started_us,
        "settled": story.settled_us,
        "last": story.last_us,
        "summary": story.settles[-1].fields if story.settles else {},
        "episodes": list(_episodes(story)),
        "devices": [_device(story, device, index) for device in order],
        "loads": [_load(story, load, index) for load in story.loads],
        "appearances": [{"module": a.module, "at": a.t_us, "came": a.came} for a in story.appearances],
        "slowest": [load.module for load in slowest(story)],
        "failures": failures(story),
        "losses": [dict(record) for record in story.losses],
        "warnings": [dict(record) for record in story.warnings],
        "unused": unused(story, manifest) if manifest is not None else None,
    }


def slowest(story: Story) -> list[LoadStory]:
    """The ten loads whose own insertion took longest, the longest first."""
    timed = [load for load in story.loads if load.own_us >= 0]
    return sorted(timed, key=lambda load: (-load.own_us, load.module))[:SLOWEST]


def failures(story: Story) -> list[dict[str, Any]]:
    """Loads that came to nothing and devices that no driver took, each with its cause and fix."""
    rows: list[dict[str, Any]] = []
    for load in story.loads:
        if load.succeeded:
            continue
        answer = why_not(story, load.module, ModuleFacts())
        row = {"what": load.module, "outcome": load.outcome, "why": list(answer.details), "fix": answer.fix}
        rows.append(row)
    for device in story.devices.values():
        if device.idle_drivers and device.present:
            why = [f"{', '.join(device.idle_drivers)} did not take it."]
            if device.former:
                why = [f"{device.former} had it, and has let go of it."]
            fix = "dmesg says why a probe failed"
            rows.append({"what": device.devpath, "outcome": "unbound", "why": why, "fix": fix})
    return rows


def unused(story: Story, manifest: dict[str, Any]) -> dict[str, Any]:
    """The image's modules that were never in the kernel, the largest first; sizes in bytes."""
    used = {load.module for load in story.loads if load.succeeded}
    used |= {appearance.module for appearance in story.appearances}
    rows = [
        {"module": str(row["name"]), "size": int(row["size"]), "path": str(row.get("path", ""))}
        for row in manifest.get("modules", ())
        if str(row["name"]).replace("-", "_") not in used
    ]
    rows.sort(key=lambda row: (-int(str(row["size"])), row["module"]))
    return {"carried": len(manifest.get("modules", ())), "modules": rows}


def _in_tree_order(story: Story) -> Iterator[DeviceStory]:
    waiting = list(reversed(story.roots()))
    while waiting:
        device = waiting.pop()
        yield device
        waiting += [story.devices[path] for path in reversed(device.children)]


def _device(story: Story, device: DeviceStory, index: dict[str, int]) -> dict[str, Any]:
    return {
        "path": device.devpath,
        "name": device.name,
        "subsystem": device.subsystem,
        "node": node_of(device),
        "modalias": device.modalias,
        "driver": device.driver,
        "former": device.former,
        "driver_module": device.module,
        "seen": device.seen_us,
        "bound": device.bound_us,
        "gone": device.gone_us,
        "parent": index.get(device.parent, -1),
        "kind": kind_of_device(device).value,
        "tells": tells(story, device),
        "idle_drivers": list(device.idle_drivers),
        "matches": [
            {"alias": m.alias, "line": m.line, "place": m.place, "module": m.module, "builtin": m.builtin}
            for m in device.matches
        ],
    }


def _load(story: Story, load: LoadStory, index: dict[str, int]) -> dict[str, Any]:
    askers = [device for device, _match in story.askers(load.module)]
    first = story.devices.get(load.asker)
    return {
        "module": load.module,
        "outcome": load.outcome,
        "succeeded": load.succeeded,
        "message": load.message,
        "kind": kind_of_load(story, load).value,
        "seen": first.seen_us if first is not None else -1,
        "queued": load.queued_us,
        "start": load.start_us,
        "end": load.end_us,
        "own": load.own_us,
        "deps": list(load.deps),
        "brought": list(load.brought),
        "causes": [_cause(cause) for cause in load.causes],
        "because": cause_text(story, load, with_alias=False),
        "askers": [index[device.devpath] for device in askers],
        "drives": [index[device.devpath] for device in story.driven_by(load.module)],
    }


def _cause(cause: Cause) -> dict[str, Any]:
    return cause.fields() | {"text": cause.in_short()} | ({"place": cause.place} if cause.place else {})


def _episodes(story: Story) -> Iterator[dict[str, Any]]:
    """The times between settles in which a device with a modalias came or went, or a module was wanted."""
    moments = sorted(
        [device.seen_us for device in story.devices.values() if device.modalias]
        + [device.gone_us for device in story.devices.values() if device.modalias and not device.present]
        + [load.queued_us for load in story.loads if load.queued_us >= 0]
    )
    begin = story.started_us
    ends = [settle.t_us for settle in story.settles]
    if not ends or story.last_us > ends[-1]:
        ends.append(story.last_us)
    number = 0
    for end in ends:
        inside = [moment for moment in moments if begin <= moment <= end]
        if inside or number == 0:
            first = begin if number == 0 else min(inside)
            yield {"name": f"Hotplug {number}" if number else "Coldplug", "from": first, "to": end}
            number += 1
        begin = end + 1
