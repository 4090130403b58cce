"""The loads as trace events, for ui.perfetto.dev and chrome://tracing.

Format: "Trace Event Format" (JSON object form): complete events (ph X) with ts and dur in microseconds,
instants (ph i), thread names (ph M). A kind of hardware is a process, each lane of loads that do not overlap
is a thread.
"""

from typing import Any


def make_trace(model: dict[str, Any]) -> dict[str, Any]:
    """Return the trace, ready for json.dump."""
    kinds = sorted({str(load["kind"]) for load in model["loads"]})
    events: list[dict[str, Any]] = []
    for number, kind in enumerate(kinds, 1):
        events.append({"ph": "M", "name": "process_name", "pid": number, "args": {"name": kind}})
        loads = [load for load in model["loads"] if load["kind"] == kind]
        lanes: list[int] = []
        for load in sorted(loads, key=_begin):
            begin, end = _begin(load), max(load["end"], _begin(load))
            lane = next((at for at, free in enumerate(lanes) if free <= begin), len(lanes))
            lanes[lane:] = [end, *lanes[lane + 1 :]]
            events += _of_load(load, number, lane + 1)
    events += _instants(model)
    return {"traceEvents": events, "displayTimeUnit": "ms", "otherData": {"kernel": model["kernel"]}}


def _begin(load: dict[str, Any]) -> int:
    known = [load[name] for name in ("queued", "start", "end") if load[name] >= 0]
    return min(known, default=0)


def _of_load(load: dict[str, Any], pid: int, tid: int) -> list[dict[str, Any]]:
    args = {"outcome": load["outcome"], "causes": load["causes"], "deps": load["deps"]}
    common = {"pid": pid, "tid": tid, "cat": load["kind"]}
    if load["start"] < 0:
        at = max(load["end"], 0)
        name = f"{load['module']} {load['outcome']}"
        return [common | {"ph": "i", "s": "t", "name": name, "ts": at, "args": args}]
    events: list[dict[str, Any]] = []
    if 0 <= load["queued"] < load["start"]:
        waited = load["start"] - load["queued"]
        events.append(
            common
            | {"ph": "X", "name": f"{load['module']} queued", "ts": load["queued"], "dur": waited, "args": {}}
        )
    failed = "" if load["succeeded"] else f" {load['outcome']}"
    took = max(0, load["end"] - load["start"])
    name = f"{load['module']}{failed}"
    events.append(common | {"ph": "X", "name": name, "ts": load["start"], "dur": took, "args": args})
    return events


def _instants(model: dict[str, Any]) -> list[dict[str, Any]]:
    """Settles, and drivers that took devices."""
    common = {"pid": 0, "tid": 0, "ph": "i", "cat": "boot"}
    events: list[dict[str, Any]] = [{"ph": "M", "name": "process_name", "pid": 0, "args": {"name": "boot"}}]
    events += [
        {"ph": "X", "pid": 0, "tid": 1 if phase.get("inside") else 0, "cat": "boot", "name": phase["name"]}
        | {"ts": phase["from"], "dur": phase["to"] - phase["from"], "args": {}}
        for phase in model["phases"]
    ]
    events += [common | {"s": "g", "name": f"{e['name']} ends", "ts": e["to"]} for e in model["episodes"]]
    for device in model["devices"]:
        if device["bound"] >= 0:
            name = f"{device['driver']} takes {device['name']}"
            events.append(
                common | {"s": "t", "name": name, "ts": device["bound"], "args": {"path": device["path"]}}
            )
    return events
