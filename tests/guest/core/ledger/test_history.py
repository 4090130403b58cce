"""The history that a ledger tells: core/ledger/history.py."""

from typing import Any

from modaliasd.core.ledger.history import UNKNOWN, history_of
from tests.support.ledgers import Maker, asked_by, q35_records, small_boot
from tests.support.schema import check_records

NIC = "/devices/pci0000:00/0000:00:03.0"


def test_the_real_ledger_is_told_whole() -> None:
    """Every device, load and appearance of a real boot is in the history; the settle's count agrees."""
    records = q35_records()
    history = history_of(records)
    there = {r["devpath"] for r in records if r["type"] == "device" and r["action"] != "remove"}
    assert set(history.devices) == there
    assert len(history.loads) == sum(r["type"] == "load" for r in records)
    inserted = [load for load in history.loads if load.outcome == "inserted"]
    assert len(inserted) == history.settles[0].fields["loads"]
    assert {a.module for a in history.appearances} == {r["module"] for r in records if r["type"] == "module"}


def test_the_parent_is_the_nearest_known_ancestor() -> None:
    """A SCSI disk hangs on the USB interface above it though directories without devices lie between."""
    maker = Maker()
    maker.device("/devices/a", subsystem="usb")
    maker.device("/devices/a/host1/target/disk", subsystem="scsi")
    history = history_of(maker.records)
    assert history.devices["/devices/a/host1/target/disk"].parent == "/devices/a"
    assert history.devices["/devices/a"].children == ["/devices/a/host1/target/disk"]
    assert [device.devpath for device in history.roots()] == ["/devices/a"]


def test_a_bind_names_driver_module_and_time() -> None:
    """The bind line gives the driver, its module and when; the module's devices follow from it."""
    history = history_of(small_boot().records)
    device = history.devices[NIC]
    assert (device.driver, device.module) == ("nic-driver", "nic")
    assert device.bound_us > device.seen_us
    assert [d.devpath for d in history.driven_by("nic")] == [NIC]


def test_unbind_takes_the_driver_away() -> None:
    """After an unbind the device has no driver, and no time of binding."""
    maker = small_boot()
    maker.device(NIC, "unbind", subsystem="pci")
    device = history_of(maker.records).devices[NIC]
    assert (device.driver, device.module, device.bound_us) == ("", "", UNKNOWN)


def test_a_removed_device_is_kept_and_its_successor_is_new() -> None:
    """A device that went is still told of; one that comes to its path later starts anew."""
    maker = small_boot()
    maker.device(NIC, "remove", subsystem="pci")
    gone = history_of(maker.records).devices[NIC]
    assert not gone.present
    assert gone.driver == "nic-driver"
    maker.device(NIC, "add", subsystem="pci", modalias="pci:v9", matches=[])
    again = history_of(maker.records).devices[NIC]
    assert again.present
    assert again.hotplugged
    assert (again.driver, again.modalias) == ("", "pci:v9")


def test_a_move_takes_everything_below_along() -> None:
    """After a move the device and those below it stand at the new path, with what they matched."""
    maker = small_boot()
    new = "/devices/pci0000:00/0000:00:13.0"
    maker.add("device", action="move", devpath=new, subsystem="pci", seqnum=300, **{"from": NIC})
    history = history_of(maker.records)
    assert NIC not in history.devices
    assert history.devices[new].matches[0].module == "nic"
    assert history.devices[f"{new}/net/eth0"].parent == new


def test_own_time_ends_where_the_next_of_the_same_modprobe_begins() -> None:
    """Two modules of one modprobe share its end; the first one's own time ends at the second one's start."""
    maker = Maker()
    common: dict[str, Any] = {"queued_us": 1_000_000, "end_us": 1_900_000}
    maker.load("dep", {"module": "top"}, start_us=1_100_000, ms=800.0, **common)
    maker.load("top", asked_by(NIC, "pci:x", "pci:*"), start_us=1_700_000, ms=200.0, **common)
    history = history_of(maker.records)
    own = {load.module: load.own_us for load in history.loads}
    assert own == {"dep": 600_000, "top": 200_000}
    top = history.load_of("top")
    assert top is not None
    assert top.brought == ("dep",)


def test_dash_and_underscore_name_the_same_module() -> None:
    """snd-pcm and snd_pcm are one module, for loads, appearances and askers."""
    maker = small_boot()
    maker.device("/devices/x", subsystem="pci", modalias="pci:y", matches=[("pci:y", "snd-pcm")])
    maker.load("snd_pcm", asked_by("/devices/x", "pci:y", "pci:y"))
    history = history_of(maker.records)
    assert history.load_of("snd-pcm") is history.load_of("snd_pcm") is not None
    assert [device.devpath for device, _ in history.askers("snd_pcm")] == ["/devices/x"]


def test_denied_by_alias_and_in_as_a_dependency_is_in() -> None:
    """A module refused to a device and yet inserted for another module counts as inserted."""
    maker = small_boot()
    maker.load("dog", {"module": "nic"})
    maker.load("dog", asked_by(NIC, "pci:z", "pci:*"), outcome="denied")
    load = history_of(maker.records).load_of("dog")
    assert load is not None
    assert load.outcome == "inserted"


def test_removed_and_then_denied_is_denied() -> None:
    """A module that left the kernel is no longer in, whatever became of its earlier load."""
    maker = small_boot()
    maker.add("module", action="remove", module="nic", seqnum=400)
    maker.load("nic", asked_by(NIC, "pci:z", "pci:*"), outcome="denied")
    load = history_of(maker.records).load_of("nic")
    assert load is not None
    assert load.outcome == "denied"


def test_a_driver_is_of_the_module_that_its_line_names() -> None:
    """The walk names the module of a driver that was there before; without one it is part of the kernel."""
    maker = small_boot()
    path, other = "/devices/pci0000:00/0000:00:06.0", "/devices/platform/i8042/serio0"
    maker.device(path, subsystem="pci", modalias="pci:v6", driver="card", module="card-pci", matches=[])
    maker.device(other, subsystem="serio", modalias="serio:x", driver="atkbd", matches=[("serio:*", "raw")])
    maker.load("raw", asked_by(other, "serio:x", "serio:*"))
    history = history_of(maker.records)
    assert history.devices[path].module == "card_pci"
    assert history.devices[other].module == ""
    assert [device.devpath for device in history.driven_by("card-pci")] == [path]


def test_a_driver_that_is_not_linked_to_its_module_yet_is_traced() -> None:
    """A bind line without a module: the module called like the driver, or the only one that the device wanted."""
    maker = small_boot()
    one, two, three = (f"/devices/pci0000:00/0000:00:0{n}.0" for n in (6, 7, 8))
    for path, module in ((one, "card_pci"), (two, "snd_card")):
        maker.device(path, subsystem="pci", modalias="pci:v6", matches=[("pci:v6", module)])
        maker.load(module, asked_by(path, "pci:v6", "pci:v6"))
    maker.add("module", action="add", module="codec_generic", seqnum=500)
    maker.device(one, "bind", subsystem="pci", modalias="pci:v6", driver="card_hcd")
    maker.device(two, "bind", subsystem="pci", modalias="pci:v6", driver="snd-card")
    maker.device(three, "bind", subsystem="pci", driver="codec_generic")
    devices = history_of(maker.records).devices
    assert [devices[path].module for path in (one, two, three)] == ["card_pci", "snd_card", "codec_generic"]


def test_the_history_ends_where_the_guest_is_switched_off() -> None:
    """What drivers let go of after the `exit` line does not count; the status does."""
    maker = small_boot()
    maker.add("exit", status=3)
    maker.device(NIC, "unbind", subsystem="pci", driver="nic-driver")
    maker.device(NIC, "remove", subsystem="pci")
    maker.settled(devices=0)
    history = history_of(maker.records)
    assert history.exit_status == 3
    assert history.devices[NIC].driver == "nic-driver"
    assert history.devices[NIC].present
    assert len(history.settles) == 1


def test_an_unbound_line_marks_the_device_until_a_driver_takes_it() -> None:
    """The idle drivers are told, and forgotten once the device is bound."""
    maker = small_boot()
    path = "/devices/pci0000:00/0000:00:05.0"
    maker.add("unbound", devpath=path, subsystem="pci", drivers=["sense"], modules=["sensor"])
    assert history_of(maker.records).devices[path].idle_drivers == ("sense",)
    maker.device(path, "bind", subsystem="pci", driver="sense")
    assert history_of(maker.records).devices[path].idle_drivers == ()


def test_what_is_unknown_is_passed_over() -> None:
    """Types and fields of a later version, and records without their fields, do no harm."""
    maker = small_boot()
    maker.add("rainbow", colours=7)
    maker.add("device", action="glow", devpath="/devices/q", future=1)
    maker.records.append({"type": "load"})
    maker.records.append({})
    history = history_of(maker.records)
    assert "/devices/q" in history.devices
    assert history.settled_us > 0


def test_the_tests_own_ledgers_keep_to_the_schema() -> None:
    """The real ledger and the made one are valid, record by record."""
    assert check_records(q35_records()) > 400
    assert check_records(small_boot().records) > 10
