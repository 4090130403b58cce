"""The ledger's lines: values in, one JSON object a line out (docs/ledger.md has every field).

The encoder is written here: importing the `json` package costs 18 ms of guest time, and nearly every string
that a boot writes is plain ASCII. Bytes that were not UTF-8 (surrogate escapes) come out as lone `\\udcXX`,
which json.loads gives back.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from modaliasd.core.device import Device
    from modaliasd.core.loading.load import Load

    Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]

FORMAT = 1


def to_json(value: Json) -> str:
    """JSON text of the value, without spaces, keys in their order."""
    if isinstance(value, str):
        return _quote(value)
    if value is True:
        return "true"
    if value is False:
        return "false"
    if value is None:
        return "null"
    if isinstance(value, dict):
        return "{" + ",".join([f"{_quote(key)}:{to_json(item)}" for key, item in value.items()]) + "}"
    if isinstance(value, list):
        return "[" + ",".join([to_json(item) for item in value]) + "]"
    return repr(value)


def _quote(text: str) -> str:
    """Return the JSON string, ASCII only (RFC 8259, section 7)."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return '"' + "".join([_escaped(char) for char in text]) + '"'


def _escaped(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    code = ord(char)
    if 32 <= code < 127:
        return char
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 | code >> 10:04x}\\u{0xDC00 | code & 0x3FF:04x}"


def line(kind: str, t_us: int, fields: dict[str, Json]) -> str:
    """One line of the ledger, with its newline; empty strings, empty lists and None are left out."""
    parts = [f'{{"type":"{kind}","t_us":{t_us}']
    for key, value in fields.items():
        if value is None or value == "" or value == []:
            continue
        parts.append(f',"{key}":{to_json(value)}')
    parts.append("}\n")
    return "".join(parts)


def device_fields(device: Device, action: str) -> dict[str, Json]:
    """Return what a `device` line says of the device itself."""
    return {
        "action": action,
        "devpath": device.devpath,
        "subsystem": device.subsystem,
        "modalias": device.modalias,
        "driver": device.driver,
        "devtype": device.devtype,
        "devname": device.devname,
        "ifname": device.ifname,
        "of_node": device.of_node,
    }


def load_fields(load: Load, live_deps: Iterable[str]) -> dict[str, Json]:
    """Return what a `load` line says; the load must have ended."""
    result = load.result
    assert result is not None
    fields: dict[str, Json] = {
        "module": load.module,
        "outcome": result.outcome.value,
        "causes": [cause.fields() for cause in load.causes],
        "more_causes": load.more_causes or None,
        "deps": list(live_deps),
        "message": result.message,
        "failure": result.failure.value if result.failure is not None else None,
        "blocked_by": result.blocked_by,
        "queued_us": load.queued_us,
        "end_us": load.end_us,
    }
    if load.start_us >= 0:
        fields["start_us"] = load.start_us
        fields["ms"] = round((load.end_us - load.start_us) / 1000, 3)
    return fields


def load_text(load: Load) -> str:
    """Render a load that has its result in one short line, for the kernel's log: how long it took, for whom."""
    assert load.result is not None
    outcome = load.result.outcome
    took = f" in {(load.end_us - load.start_us) / 1000:.1f} ms" if load.start_us >= 0 else ""
    why = f": {load.result.message}" if load.result.message else ""
    return f"{load.module} {outcome.value}{took}, {load.causes[0].in_full()}{why}"
