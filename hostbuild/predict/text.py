"""A prediction as text for people, and as JSON for programs (docs/predicting.md). Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

from hostbuild.predict.prediction import DeviceFate, Fate, Foreseen, Prediction
from modaliasd.core.ledger.devicetree import node_fields, node_words
from modaliasd.core.loading.outcome import Outcome
from modaliasd.core.printable import printable

FORMAT = 1
_SHOWN = 3  # devices of a group that are named


def render_prediction(prediction: Prediction, name: str, *, of_tree: bool = False) -> str:
    """Return the prediction as lines. name: of what is booted, as in "this image".

    of_tree: the machine is known by its device tree alone, which does not tell what the kernel's own drivers take.
    """
    lines = [
        f"{len(prediction.modules)} modules would be loaded by {name} ({prediction.kernel}), first to last:"
    ]
    rounds = sorted({load.round for load in prediction.loads})
    nodes = {device.devpath: device.of_node for device in prediction.devices if device.of_node}
    width = max((len(load.module) for load in prediction.loads), default=0)
    for number in rounds:
        loads = [one for one in prediction.loads if one.round == number and one.outcome is not Outcome.DENIED]
        if number and loads:
            lines.append("  and for what these bring:")
        lines += [f"    {load.module:<{width}}  {_because(load, nodes)}" for load in loads]
    refused = [load for load in prediction.loads if load.outcome in (Outcome.DENIED, Outcome.FAILED)]
    lines += _section("would be asked for in vain", [f"{one.module}: {one.message}" for one in refused])
    absent = [device for device in prediction.devices if device.fate is Fate.ABSENT]
    lines += _section("would not appear", _absent(absent), len(absent))
    lacking = prediction.without_driver
    title = (
        "have no module: a driver is inside the kernel, or there is none"
        if of_tree
        else "would have no driver"
    )
    lines += _section(title, _grouped(lacking), len(lacking))
    lines += _section(
        "were in the captured machine's kernel, and nothing here tells whether they would come",
        [", ".join(prediction.unexplained)] if prediction.unexplained else [],
        len(prediction.unexplained),
    )
    if of_tree:
        lines.append("what is behind PCI, USB and other buses that are searched is not in a device tree")
    elif prediction.opened:
        lines.append(
            f"{len(prediction.opened)} devices had no driver in the capture, and modules come for them: what would "
            "appear behind them is not in it"
        )
    return "".join(f"{printable(line)}\n" for line in lines)


def prediction_fields(prediction: Prediction) -> dict[str, Any]:
    """Return the prediction as JSON."""
    return {
        "type": "prediction",
        "format": FORMAT,
        "kernel": prediction.kernel,
        "modules": prediction.modules,
        "requested": prediction.requested,
        "loads": [_load_fields(load) for load in prediction.loads],
        "devices": [_device_fields(device) for device in prediction.devices],
        "without_driver": [device.devpath for device in prediction.without_driver],
        "lost": [device.devpath for device in prediction.lost],
        "unexplained": list(prediction.unexplained),
        "opened": list(prediction.opened),
    }


def _load_fields(load: Foreseen) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "module": load.module,
        "outcome": load.outcome.value,
        "message": load.message,
        "round": load.round,
        "by_kernel": load.by_kernel,
        "causes": [cause.fields() for cause in load.causes],
        "deps": list(load.needs),
    }
    return {key: value for key, value in fields.items() if value or key in ("round", "causes")}


def _device_fields(device: DeviceFate) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "devpath": device.devpath,
        "subsystem": device.subsystem,
        "modalias": device.modalias,
        "fate": device.fate.value,
        "driver": device.driver,
        "modules": list(device.modules),
        "why": device.why,
        "device_tree": node_fields(device.modalias, device.aliases, device.of_node),
    }
    return {key: value for key, value in fields.items() if value}


def _because(load: Foreseen, nodes: Mapping[str, str]) -> str:
    """Say why a module comes. nodes: devpath -> path in the device tree."""
    cause = load.causes[0]
    node = node_words(cause.modalias, cause.alias, nodes.get(cause.devpath, "")) if cause.devpath else ""
    note = f", {node}" if node else ""
    note += ", as on the captured machine" if load.by_kernel else ""
    if load.outcome is Outcome.NODEVICE:
        note += f", and leaves again: {load.message}"
    others = len({one.devpath for one in load.causes if one.devpath}) - 1 if cause.devpath else 0
    return cause._replace(alias=_short(cause.alias)).in_short(others=others) + note


def _absent(devices: Iterable[DeviceFate]) -> list[str]:
    """Devices that wait for the same driver, in one line."""
    groups: dict[str, list[str]] = {}
    for device in devices:
        groups.setdefault(device.why, []).append(_last(device.devpath))
    return [f"{', '.join(names)}: {why}" for why, names in groups.items()]


def _grouped(devices: Iterable[DeviceFate]) -> list[str]:
    """Devices of one modalias in one line."""
    groups: dict[tuple[str, str], list[DeviceFate]] = {}
    for device in devices:
        groups.setdefault((device.modalias or device.devpath, device.why), []).append(device)
    lines = []
    for group in groups.values():
        names = ", ".join(_last(device.devpath) for device in group[:_SHOWN])
        more = f" and {len(group) - _SHOWN} more" if len(group) > _SHOWN else ""
        first = group[0]
        lines.append(f"{first.subsystem} {names}{more} ({_short(first.modalias)}): {first.why}".lstrip())
    return lines


def _section(title: str, rows: list[str], count: int = -1) -> list[str]:
    if not rows:
        return []
    return [f"{len(rows) if count < 0 else count} {title}:", *(f"    {row}" for row in rows)]


def _last(devpath: str) -> str:
    return devpath.rpartition("/")[2]


def _short(text: str, limit: int = 60) -> str:
    """Printable, and not too long: a CPU's modalias has a thousand characters."""
    plain = text.encode("ascii", "backslashreplace").decode("ascii")
    return plain if len(plain) <= limit else plain[: limit - 1] + "…"
