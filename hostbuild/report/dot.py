"""Devices, the modules that they had loaded, and what these need, as a Graphviz digraph (dot language)."""

from typing import Any

from modaliasd.core.printable import printable

COLOURS = {  # the kinds' colours in the page, light
    "storage": "#0072b2",
    "network": "#009e73",
    "usb": "#e69f00",
    "input": "#cc79a7",
    "sound": "#56b4e9",
    "graphics": "#d55e00",
    "cpu": "#b5a500",
    "other": "#7d8590",
}


def render_dot(model: dict[str, Any]) -> str:
    """Return the graph: boxes are devices, ellipses are modules; dashed edges lead from a device to its parent's."""
    lines = ["digraph boot {", "  rankdir=LR;", '  node [fontname="sans-serif", fontsize=10];']
    shown = {at for at, device in enumerate(model["devices"]) if device["matches"]}
    for at in sorted(shown):
        device = model["devices"][at]
        label = _quoted(f"{device['subsystem'] or 'device'} {device['name']}")
        lines.append(f'  d{at} [shape=box, color="{COLOURS[device["kind"]]}", label={label}];')
        parent = device["parent"]
        while parent >= 0 and parent not in shown:
            parent = model["devices"][parent]["parent"]
        if parent >= 0:
            lines.append(f"  d{parent} -> d{at} [style=dashed, arrowhead=none];")
    names = {load["module"]: f"m{at}" for at, load in enumerate(model["loads"])}
    for load in model["loads"]:
        style = "" if load["succeeded"] else ", style=dotted"
        colour, label = COLOURS[load["kind"]], _quoted(load["module"])
        lines.append(f'  {names[load["module"]]} [color="{colour}"{style}, label={label}];')
        lines += [f"  d{at} -> {names[load['module']]};" for at in load["askers"] if at in shown]
        lines += [f"  {names[load['module']]} -> {names[dep]};" for dep in load["brought"] if dep in names]
    return "\n".join([*lines, "}"]) + "\n"


def _quoted(text: str) -> str:
    return '"' + printable(text).replace("\\", "\\\\").replace('"', '\\"') + '"'
