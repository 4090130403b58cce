"""Which link wants what: decides from the kernel's messages what the helper has to do. Pure.

A link is the helper's if it is Ethernet, if a device stands behind it, and if it is no port of a bridge or a bond. Such
a link is set up once, when it shows: who sets it down afterwards has a reason. While it is up and has a carrier it
is to have a lease. Where one of these ends, or the link is renamed, the helper lets go of the lease.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Do(Enum):
    """What there is to do with a link."""

    SET_UP = "set up"
    LEASE = "lease"
    LET_GO = "let go"  # the address comes off the link
    # the link is no longer there, or has another name: what was known under this one is stale
    FORGET = "forget"


@dataclass(frozen=True, slots=True)
class Link:
    """A link as the kernel has it (rtnetlink(7), RTM_NEWLINK).

    ethernet: ARPHRD_ETHER. device: a device stands behind it, /sys/class/net/NAME/device; what is made by
    software (a bridge, dummy0, veth) has none. port: it belongs to a bridge or a bond (IFLA_MASTER).
    up: IFF_UP, somebody set it so. carrier: IFF_RUNNING, packets would go out.
    """

    index: int
    name: str
    ethernet: bool = True
    device: bool = True
    port: bool = False
    up: bool = False
    carrier: bool = False

    @property
    def wanted(self) -> bool:
        """Whether the helper has to do with it at all."""
        return self.ethernet and self.device and not self.port


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do, with the link of that name."""

    do: Do
    index: int
    name: str


@dataclass(slots=True)
class _Known:
    name: str
    was_set_up: bool = False
    leasing: bool = False


class Links:
    """The links that are there, by their index, which a link keeps as long as it lives."""

    def __init__(self) -> None:
        self._known: dict[int, _Known] = {}

    def see(self, link: Link) -> list[Step]:
        """Take in what the kernel says of a link, new or known; give what there is to do, in order."""
        return list(self._see(link))

    def gone(self, index: int) -> list[Step]:
        """Take in that a link is no more."""
        known = self._known.pop(index, None)
        return [] if known is None else list(self._forget(index, known))

    def _see(self, link: Link) -> Iterator[Step]:
        known = self._known.get(link.index)
        if known is not None and known.name != link.name:
            yield from self._forget(link.index, known)
            known.name = link.name
        if known is None:
            if not link.wanted:
                return
            known = self._known[link.index] = _Known(link.name)
        if known.leasing and not (link.wanted and link.up and link.carrier):
            known.leasing = False
            yield Step(Do.LET_GO, link.index, link.name)
        if not link.wanted:
            return
        if link.up:
            known.was_set_up = True
        if not known.was_set_up:
            known.was_set_up = True
            yield Step(Do.SET_UP, link.index, link.name)
        if link.up and link.carrier and not known.leasing:
            known.leasing = True
            yield Step(Do.LEASE, link.index, link.name)

    @staticmethod
    def _forget(index: int, known: _Known) -> Iterator[Step]:
        if known.leasing:
            known.leasing = False
            yield Step(Do.LET_GO, index, known.name)
        yield Step(Do.FORGET, index, known.name)
