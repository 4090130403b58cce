"""Network interfaces that are renamed the moment they appear, as udev's rules do it, while more cards come and go.

The kernel hands out eth0, eth1, ... by what is free just then. Whoever renames races it: a name that has been given
away is free again for the next card.
"""

import pytest

from hostbuild.testing import Guest

pytestmark = [pytest.mark.guest(shared=True), pytest.mark.image(modules="virtio")]

# Renames every ethN to lan and its index, as soon as it is there, until it is told to end.
RENAMER = """
touch /run/rename
(
    while [ -e /run/rename ]; do
        for card in /sys/class/net/eth*; do
            read -r index <"$card/ifindex" && ip link set "${card##*/}" name "lan$index"
        done 2>/dev/null
    done
) &
"""


@pytest.fixture(autouse=True)
def _no_renamer_is_left(guest: Guest) -> object:
    yield
    guest.run("rm -f /run/rename")


def names(guest: Guest) -> list[str]:
    """Return the guest's interfaces but for the loopback."""
    return sorted(guest.run("ls /sys/class/net").stdout.split()[:-1])


def test_a_rename_is_followed(guest: Guest) -> None:
    """The card is the same device under its new name: the ledger has it by that, with the same driver."""
    nic = guest.plug("virtio-net-pci", mac="52:54:00:00:00:01")
    eth = guest.expect_node(nic, "eth*")
    guest.run(f"ip link set {eth} name wan0")
    assert guest.expect_node(nic, "wan0") == "wan0"
    guest.expect_bound(nic, "virtio_net")
    assert [device.ifname for device in guest.devices(nic) if device.ifname] == ["wan0"]


def test_a_freed_name_goes_to_the_next_card(guest: Guest) -> None:
    """eth0 that has become wan0 leaves eth0 to the next card, and both keep their own."""
    first = guest.plug("virtio-net-pci")
    eth = guest.expect_node(first, "eth*")
    guest.run(f"ip link set {eth} name wan0")
    second = guest.plug("virtio-net-pci")
    assert guest.expect_node(second, "eth*") == eth
    assert guest.expect_node(first) == "wan0"


def test_cards_that_come_while_others_are_renamed(guest: Guest) -> None:
    """Four cards, plugged in at once under a renamer: each ends as lanN of its own, and none is lost or mixed up."""
    guest.run(RENAMER)
    macs = [f"52:54:00:00:01:{number:02x}" for number in range(4)]
    nics = [guest.plug("virtio-net-pci", mac=mac, wait=False) for mac in macs]
    lans = [guest.expect_node(nic, "lan*") for nic in nics]
    guest.settle()
    assert len(set(lans)) == 4
    assert names(guest) == sorted(lans)
    for lan, mac in zip(lans, macs, strict=True):  # the ledger's card is the kernel's
        assert guest.run(["cat", f"/sys/class/net/{lan}/address"]).stdout.strip() == mac
    guest.expect_healthy()


def test_a_card_that_goes_while_it_is_renamed(guest: Guest) -> None:
    """Cards pulled out at any moment of their rename leave nothing behind."""
    guest.run(RENAMER)
    for _ in range(4):
        nic = guest.plug("virtio-net-pci")
        guest.unplug(nic)
        assert guest.devices(nic) == []
    guest.settle()
    assert names(guest) == []
    guest.expect_healthy()
