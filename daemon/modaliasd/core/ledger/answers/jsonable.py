"""What a ledger tells, and the answers about it, as values that JSON has: for `--json`.

Fields have the names and units of history_values.py and explain.py; times are microseconds, -1 where they are unknown.
"""

from __future__ import annotations

from modaliasd.core.fasttypes import Enum
from modaliasd.core.ledger.devicetree import node_fields
from modaliasd.core.ledger.history_values import DeviceHistory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from modaliasd.core.ledger.answers.explain_not import WhyNot
    from modaliasd.core.ledger.history import History

_DEVICE = (
    *("devpath", "parent", "subsystem", "modalias", "matches", "driver", "module", "devtype", "devname", "ifname"),
    *("of_node", "seen_us", "bound_us", "gone_us", "hotplugged", "idle_drivers"),
)  # fmt: skip


def plain(value: Any) -> Any:  # noqa: ANN401
    """Return a value of the history, or an answer, with its named tuples as objects and its enums as their values."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, DeviceHistory):
        fields = {name: plain(getattr(value, name)) for name in _DEVICE}
        node = node_fields(value.modalias, (match.alias for match in value.matches), value.of_node)
        return fields | {"device_tree": node} if node is not None else fields
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: plain(one) for name, one in value._asdict().items()}
    if isinstance(value, tuple | list):
        return [plain(one) for one in value]
    return value


def tree_fields(history: History, since_us: int = -1) -> dict[str, Any]:
    """Return what the tree is drawn from. since_us: only what came at that time or later."""
    return {
        "kernel": history.start.get("kernel", ""),
        "settled_us": history.settled_us,
        "devices": [plain(one) for one in history.devices.values() if one.seen_us >= since_us],
        "loads": [plain(one) for one in history.loads if max(one.queued_us, one.end_us) >= since_us],
        "appearances": [plain(one) for one in history.appearances if one.t_us >= since_us],
    }


def why_not_fields(answer: WhyNot) -> dict[str, Any]:
    """Return the answer. reason: its name, as `no-device`; words: what it means."""
    return {
        "module": answer.module,
        "reason": answer.reason.name.lower().replace("_", "-"),
        "words": answer.reason.value,
        "details": list(answer.details),
        "fix": answer.fix,
    }
