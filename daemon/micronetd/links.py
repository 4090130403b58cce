"""Which link wants what: decides from the kernel's messages what the helper has to do. Pure.

A link is the helper's if it is Ethernet, if a device stands behind it (or it is a VLAN that the command line asks
for), if it is no port of a bridge or a bond, and if the command line does not leave it out (plan.py). Such a link is
set up once, when it shows: who sets it down afterwards has a reason. While it is up and has a carrier it is configured.
Where one of these ends, or the link is renamed, the helper lets go of what it gave it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from micronetd.plan import Plan


class Do(Enum):
    """What there is to do with a link."""

    SET_UP = "set up"
    ADD_VLANS = "add VLANs"  # those that lie over it
    CONFIGURE = "configure"  # it can have its addresses now
    LET_GO = "let go"  # the addresses come off the link
    # the link is no longer there, or has another name: what was known under this one is stale
    FORGET = "forget"


@dataclass(frozen=True, slots=True)
class Link:
    """A link as the kernel has it (rtnetlink(7), RTM_NEWLINK).

    ethernet: ARPHRD_ETHER. device: a device stands behind it, /sys/class/net/NAME/device; what is made by
    software (a bridge, dummy0, veth) has none, but a VLAN that is asked for counts. port: it belongs to a bridge or a
    bond (IFLA_MASTER). up: IFF_UP, somebody set it so. carrier: IFF_RUNNING, packets would go out.
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
    has_vlans: bool = False
    configured: bool = False


class Links:
    """The links that are there, by their index, which a link keeps as long as it lives. plan: what is asked for."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._known: dict[int, _Known] = {}

    def see(self, link: Link) -> list[Step]:
        """Take in what the kernel says of a link, new or known; give what there is to do, in order."""
        return list(self._see(link))

    def gone(self, index: int) -> list[Step]:
        """Take in that a link is no more."""
        known = self._known.pop(index, None)
        self._plan.release(index)
        return [] if known is None else list(self._forget(index, known))

    def _see(self, link: Link) -> Iterator[Step]:
        known = self._known.get(link.index)
        if known is not None and known.name != link.name:
            yield from self._forget(link.index, known)
            self._plan.release(link.index)
            known = self._known[link.index] = _Known(link.name, known.was_set_up)
        wanted = link.wanted and self._plan.minds(link.index, link.name)
        if known is None:
            if not wanted:
                return
            known = self._known[link.index] = _Known(link.name)
        if known.configured and not (wanted and link.up and link.carrier):
            known.configured = False
            yield Step(Do.LET_GO, link.index, link.name)
        if not wanted:
            return
        if link.up:
            known.was_set_up = True
        if not known.was_set_up:
            known.was_set_up = True
            yield Step(Do.SET_UP, link.index, link.name)
        if not known.has_vlans:
            known.has_vlans = True
            if self._plan.vlans_over(link.name):
                yield Step(Do.ADD_VLANS, link.index, link.name)
        if link.up and link.carrier and not known.configured:
            known.configured = True
            yield Step(Do.CONFIGURE, link.index, link.name)

    @staticmethod
    def _forget(index: int, known: _Known) -> Iterator[Step]:
        if known.configured:
            known.configured = False
            yield Step(Do.LET_GO, index, known.name)
        yield Step(Do.FORGET, index, known.name)
