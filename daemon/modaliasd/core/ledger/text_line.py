"""A ledger record as one line for people, for those who follow the ledger as it grows."""

from __future__ import annotations

from modaliasd.core.ledger.text import style_of
from modaliasd.core.loading.cause import cause_of
from modaliasd.core.printable import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


TROUBLE = frozenset({"lost", "dropped", "warning", "unbound", "slow"})
# compared, not looked up: in a record of a type that nobody here knows, `outcome` may be anything
_BAD_OUTCOMES = ("failed", "denied", "lost")


def record_line(record: Mapping[str, Any], *, color: bool = False) -> str:
    """Return the record in a line without its newline: the time in seconds since boot, the type, what it says."""
    style = style_of(color)
    kind = str(record.get("type", "?"))
    words = printable(_DESCRIBE.get(kind, _fields)(record))
    if kind in TROUBLE or record.get("verdict") == "deny" or record.get("outcome") in _BAD_OUTCOMES:
        words = style("warn", words)
    stamp = f"{record.get('t_us', 0) / 1e6:10.3f}"
    return f"{style('faint', stamp)}  {style('module', f'{printable(kind):<8}')} {words}"


def _device(record: Mapping[str, Any]) -> str:
    node = record.get("ifname") or record.get("devname") or ""
    parts = [f"{record.get('action', ''):<8}", record.get("devpath", "")]
    if node:
        parts.append(f"({node})")
    if record.get("driver"):
        parts.append(f"driver {record['driver']}")
    modules = [match.get("module", "") for match in record.get("matches", ())]
    if modules:
        parts.append(f"asks for {', '.join(dict.fromkeys(modules))}")
    return " ".join(parts)


def _load(record: Mapping[str, Any]) -> str:
    took = f" in {record['ms']:.1f} ms" if "ms" in record else ""
    message = f": {record['message']}" if record.get("message") else ""
    causes = record.get("causes") or [{}]
    who = cause_of(causes[0]).who or "?"
    return f"{record.get('module', '')} {record.get('outcome', '')}{took}, for {who}{message}"


def _boot(record: Mapping[str, Any]) -> str:
    calls = [f"{call.get('name')} {call.get('ms', 0):.0f} ms" for call in record.get("initcalls", ())]
    slow = f"; slowest initcalls: {', '.join(calls)}" if calls else ""
    return f"the kernel ran init at {record.get('init_us', 0) / 1e6:.3f} s{slow}"


def _fields(record: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in record.items() if key not in {"type", "t_us"})


def trimmed_text(record: Mapping[str, Any]) -> str:
    """Return what a `trimmed` line says: how many lines are no longer there, of which kinds, and of which time."""
    kinds = ", ".join(f"{count} {printable(str(kind))}" for kind, count in record.get("types", {}).items())
    span = f"{record.get('from_us', 0) / 1e6:.3f} s to {record.get('t_us', 0) / 1e6:.3f} s"
    return f"{record.get('lines', 0)} lines of {span} went when the ledger was full ({kinds})"


_DESCRIBE = {"device": _device, "load": _load, "boot": _boot, "trimmed": trimmed_text}
