"""Which `ip=` words a link follows, and which VLANs lie over it. Pure.

A word that names a link is that link's. Words that name none are for the links that no word names: DHCP for each of
them; a static address for the first that shows, for it cannot be on two. As soon as there is one usable word, links
that no word is for are left alone. Without any, each link gets its address by DHCP.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from micronetd.words import Card, Method, Words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from micronetd.words import Vlan


class Plan:
    """The command line's wishes. A static address without a card is lent to a link, and given back by release()."""

    def __init__(self, words: Words) -> None:
        self.servers = words.servers
        cards = words.cards or (Card(),)
        self._by_name: dict[str, list[Card]] = {}
        for card in cards:
            if card.device:
                self._by_name.setdefault(card.device, []).append(card)
        self._any = [card for card in cards if not card.device]
        self._vlans = words.vlans
        self._holders: dict[int, int] = {}  # number in _any -> index of the link that has it

    @property
    def hostname(self) -> str:
        """The name that the host is to have, "" for none."""
        named = [card for cards in self._by_name.values() for card in cards]
        return next((card.hostname for card in [*named, *self._any] if card.hostname), "")

    def is_vlan(self, name: str) -> bool:
        """Tell whether this link is one of the VLANs asked for."""
        return any(vlan.name == name for vlan in self._vlans)

    def vlans_over(self, name: str) -> list[Vlan]:
        """Return the VLANs that lie over a link."""
        return [vlan for vlan in self._vlans if vlan.parent == name]

    def cards(self, index: int, name: str) -> list[Card]:
        """Return the words that a link follows; [] for a link that is to be left alone."""
        if name in self._by_name:
            return _active(self._by_name[name])
        found = []
        for number, card in enumerate(self._any):
            if card.method is not Method.STATIC or self._holders.setdefault(number, index) == index:
                found.append(card)
        return _active(found)

    def minds(self, index: int, name: str) -> bool:
        """Tell whether a link is to be set up at all: for itself, or for a VLAN over it."""
        return bool(self.cards(index, name) or self.vlans_over(name))

    def release(self, index: int) -> None:
        """Take back what a link that is gone has held."""
        self._holders = {number: holder for number, holder in self._holders.items() if holder != index}


def _active(cards: Sequence[Card]) -> list[Card]:
    return [card for card in cards if card.method is not Method.OFF]
