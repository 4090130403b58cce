"""core/inventory.py: which devices are there, and what about them is news."""

from modaliasd.core.device import Device
from modaliasd.core.inventory import Arrivals, Counts, Inventory

A = Device("/devices/a", "pci", "pci:x")
B = Device("/devices/a/b", "net", "")


def test_a_modalias_is_news_once() -> None:
    """A device is matched when it shows, and again only when its modalias has changed to another one."""
    inventory = Inventory()
    entry, news = inventory.see(A)
    assert (entry.device, news) == (A, True)
    assert inventory.see(A) == (entry, False)
    assert inventory.see(B)[1] is False
    assert inventory.see(B._replace(modalias="net:y"))[1] is True
    assert inventory.see(A._replace(modalias=""))[1] is False
    assert entry.device.modalias == ""
    assert inventory.see(A)[1] is True


def test_a_driver_comes_and_goes() -> None:
    """A bind is of one device; that of one that is not there is nothing."""
    inventory = Inventory()
    inventory.see(A)
    inventory.see(B)
    inventory.bind(A.devpath, "drv")
    inventory.bind("/devices/nowhere", "drv")
    assert [entry.device.driver for entry in inventory] == ["drv", ""]
    inventory.bind(A.devpath, "")
    assert [entry.device.driver for entry in inventory] == ["", ""]


def test_what_has_gone_is_given_back_once() -> None:
    """A removal takes one device; clear takes all."""
    inventory = Inventory()
    entry, _ = inventory.see(A)
    inventory.see(B)
    assert inventory.find(A.devpath) is entry
    assert inventory.remove(A.devpath) is entry
    assert inventory.remove(A.devpath) is None
    assert inventory.find(A.devpath) is None
    assert [one.device for one in inventory] == [B]
    inventory.clear()
    assert list(inventory) == []


def test_a_move_takes_what_is_below_along_and_nothing_else() -> None:
    """A name that only begins alike is another device."""
    inventory = Inventory()
    for device in (A, B, Device("/devices/ab", "pci")):
        inventory.see(device)
    inventory.move(A.devpath, Device("/devices/z", "pci", "pci:x"))
    assert [entry.device.devpath for entry in inventory] == ["/devices/ab", "/devices/z", "/devices/z/b"]
    moved = inventory.find("/devices/z/b")
    assert moved is not None
    assert moved.device == B._replace(devpath="/devices/z/b")
    assert inventory.find(A.devpath) is None


def test_counts() -> None:
    """Of all devices: how many ask for something, how many get it, how many have a driver."""
    inventory = Inventory()
    entry, _ = inventory.see(A)
    inventory.see(B)
    inventory.see(Device("/devices/c", "pci", "pci:y", driver="drv"))
    entry.modules = ("m",)
    assert inventory.counts() == Counts(devices=3, with_modalias=2, matched=1, bound=1)


def test_arrivals_come_in_the_order_of_their_news() -> None:
    """Each name once, at its latest place; who has seen so many hears of the rest; what has gone is not told of."""
    arrivals = Arrivals()
    for name in ("vda", "vdb", "vda"):
        arrivals.note(name)
    assert (arrivals.count, arrivals.since(0), arrivals.since(2), arrivals.since(3)) == (
        3,
        ["vdb", "vda"],
        ["vda"],
        [],
    )
    arrivals.forget("vda")
    arrivals.forget("never there")
    assert (arrivals.count, arrivals.since(0)) == (3, ["vdb"])


def test_arrivals_do_not_grow_with_what_comes_and_goes() -> None:
    """A thousand disks that were plugged and unplugged leave nothing but their number."""
    arrivals = Arrivals()
    for number in range(1000):
        arrivals.note(f"sd{number}")
        arrivals.forget(f"sd{number}")
    assert (arrivals.count, arrivals.since(0)) == (1000, [])
