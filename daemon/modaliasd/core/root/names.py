"""What somebody may have meant by a root= that no device has: a typing error, or the right value of another kind."""

from __future__ import annotations

from modaliasd.core.fasttypes import Enum, NamedTuple
from modaliasd.core.near import distance, nearest
from modaliasd.core.root.words import By

TYPE_CHECKING = False
if TYPE_CHECKING:
    from modaliasd.core.root.target import BlockDevice
    from modaliasd.core.root.words import Target

MOST_EDITS = 4  # of a UUID: two that differ in more are two


class Hint(Enum):
    """What is near."""

    SIMILAR = "similar"
    OTHER_KIND = "other kind"
    PARTITION = "partition"


class NameHint(NamedTuple):
    """words: as they go on behind "No device is X, but"; fix: what to write."""

    kind: Hint
    words: str
    fix: str


def hint_for(target: Target, devices: tuple[BlockDevice, ...]) -> NameHint | None:
    """Return what is near; None where nothing is."""
    named = _names_of(devices)
    value = target.value.lower()
    for by, text, device in named:
        if text.lower() == value and by is not target.by:
            return NameHint(
                Hint.OTHER_KIND, f"that is the {by.value} of {device.node}", f"root={by.value}={text}"
            )
    if target.by in (By.NODE, By.NUMBER):
        return _near_node(target, devices)
    candidates = {text: device for by, text, device in named if by is target.by}
    near = nearest(target.value, candidates)
    if near and (target.by in (By.LABEL, By.PARTLABEL) or distance(value, near.lower()) <= MOST_EDITS):
        words = f"{candidates[near].node} is {target.by.value}={near}"
        return NameHint(Hint.SIMILAR, words, f"root={target.by.value}={near}")
    return None


def _near_node(target: Target, devices: tuple[BlockDevice, ...]) -> NameHint | None:
    """Find the same partition of a disk that is called otherwise, or the disk without the partition."""
    value = target.value
    usable = [one for one in devices if one.size]
    for one in usable:
        if not one.disk and value.startswith(one.node) and value[len(one.node) :].lstrip("p").isdigit():
            parts = [part.node for part in usable if f"/dev/{part.disk}" == one.node]
            has = f"only {', '.join(parts)}" if parts else "no partitions"
            fix = f"root={parts[0] if parts else one.node}"
            return NameHint(Hint.PARTITION, f"{one.node} has {has}", fix)
    alike = [
        one.node
        for one in usable
        if distance(value, one.node) <= 2 and one.node[-1:].isdigit() == value[-1:].isdigit()
    ]
    if not alike:
        return None
    return NameHint(
        Hint.SIMILAR, f"{alike[0]} is there", f"root={alike[0]}; a UUID does not change with the driver"
    )


def _names_of(devices: tuple[BlockDevice, ...]) -> list[tuple[By, str, BlockDevice]]:
    found = []
    for one in devices:
        holds = one.holds
        names = (
            (By.UUID, holds.uuid if holds is not None else ""),
            (By.LABEL, holds.label if holds is not None else ""),
            (By.PARTUUID, one.partuuid),
            (By.PARTLABEL, one.partlabel),
        )
        found += [(by, text, one) for by, text in names if text]
    return found
