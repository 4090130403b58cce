"""Uevents in a world without a kernel: order, duplicates, losses, what has vanished, what is sent on."""

import threading
from collections import deque
from typing import Any

import pytest

from modaliasd.core.device import Device, Phase
from modaliasd.core.ledger.answers.explain import why_module
from modaliasd.core.ledger.answers.text_explain import module_text
from modaliasd.core.ledger.history import history_of
from modaliasd.core.loading.cause import Cause
from modaliasd.core.policy.rules import parse_policy
from modaliasd.core.uevent.monitor import monitor_message
from modaliasd.linux.netlink import Datagram, Oddity
from modaliasd.service.intake import EVENTS_A_TURN
from tests.support.fakeworld import Fakes, FakeUevents
from tests.support.schema import check_records

NIC = "/devices/pci0000:00/0000:00:03.0"


def settle(fakes: Fakes) -> list[dict[str, Any]]:
    """Run to the first settle; gives the ledger, checked against its format."""
    fakes.sysfs.seqnums = deque([0, *fakes.sysfs.seqnums])
    service = fakes.service()
    thread = threading.Thread(target=service.run, kwargs={"once": True}, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive(), "it settles"
    records = fakes.records()
    check_records(records)
    return records


def of(records: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [record for record in records if record["type"] == kind]


def world(*seqnums: int, devices: list[Device] | None = None) -> Fakes:
    fakes = Fakes()
    fakes.sysfs.seqnums = deque(seqnums)
    fakes.sysfs.devices = devices or []
    return fakes


def test_a_batch_is_put_in_order() -> None:
    """Two CPUs' events in the wrong order (Linux 6.10 and later) are handled by their numbers: parent before child."""
    fakes = world(3)
    fakes.uevents.event(f"{NIC}/net/eth0", 2, SUBSYSTEM="net")
    fakes.uevents.event(NIC, 1, MODALIAS="pci:x")
    fakes.uevents.event(NIC, 3, "bind", DRIVER="x")
    records = settle(fakes)
    assert [record["seqnum"] for record in of(records, "device")] == [1, 2, 3]
    assert of(records, "lost") == []


def test_whom_the_kernel_asked_for_is_told() -> None:
    """A module that came by the kernel's own request has its cause; one that came by somebody's hand has none."""
    fakes = world(2)
    known = {"loop": Cause(request="the kernel, for losetup (pid 7)", alias="char-major-10-237")}
    fakes.find_request = known.get
    fakes.uevents.event("/module/loop", 1, SUBSYSTEM="module")
    fakes.uevents.event("/module/other", 2, SUBSYSTEM="module")
    first, second = of(settle(fakes), "module")
    assert first["causes"] == [known["loop"].fields()]
    assert "causes" not in second
    why = why_module(history_of(fakes.records()), "loop")
    assert why is not None
    assert "  the kernel, for losetup (pid 7) asked for it by name: char-major-10-237\n" in module_text(
        history_of(fakes.records()), why
    )


def test_a_missing_number_is_lost_only_after_a_moment_and_found_by_a_walk() -> None:
    """Number 1 never comes: the loss is told with its count, a walk follows it, and then nothing is missing."""
    fakes = world(2)
    fakes.uevents.event(NIC, 2, MODALIAS="pci:x")
    clock = iter(range(0, 10**9, 20_000))
    fakes.clock = lambda: next(clock)
    records = settle(fakes)
    [lost] = of(records, "lost")
    assert (lost["reason"], lost["events"]) == ("gap", 1)
    assert [walk["reason"] for walk in of(records, "walk")] == ["coldplug", "gap"]
    assert (records[-1]["lost"], records[-1]["recovered"]) == (0, 1)


def test_a_backlog_is_no_loss() -> None:
    """Events that wait in the socket for longer than the moment that a missing one is given are not missing."""
    fakes = world(150)
    for number in range(1, 151):
        fakes.uevents.event(NIC, number)
    clock = iter(range(0, 10**12, 20_000))
    fakes.clock = lambda: next(clock)
    records = settle(fakes)
    assert of(records, "lost") == []
    assert (records[-1]["seqnum"], records[-1]["recovered"]) == (150, 0)


def test_an_overrun_is_answered_by_a_walk_that_begins_after_it() -> None:
    """ENOBUFS in the middle of the first walk: that one ends, and another one sees what the first may have missed."""
    fakes = world(9)
    fakes.uevents.script.append(Oddity.OVERRUN)
    records = settle(fakes)
    assert of(records, "lost")[0]["events"] == 9
    assert [walk["reason"] for walk in of(records, "walk")] == ["coldplug", "overrun"]
    assert records[-1]["recovered"] == 9


def test_a_walk_after_a_loss_finds_what_has_gone() -> None:
    """A device that a lost uevent removed is written as removed by the walk that misses it."""
    fakes = world(2)
    fakes.uevents.event("/devices/gone", 1, MODALIAS="pci:gone")
    fakes.uevents.script.append(Oddity.OVERRUN)
    records = settle(fakes)
    [gone] = [record for record in of(records, "device") if record["action"] == "remove"]
    assert (gone["devpath"], gone["walk"]) == ("/devices/gone", 2)
    assert records[-1]["devices"] == 0


def test_a_late_event_does_not_bring_back_what_has_gone() -> None:
    """An `add` behind a loss, of a device that /sys has no more, is written down and changes nothing."""
    fakes = world(5)
    fakes.uevents.script.append(Oddity.OVERRUN)
    fakes.uevents.script.extend([Oddity.EMPTY])
    fakes.uevents.event("/devices/ghost", 3, MODALIAS="pci:ghost")
    records = settle(fakes)
    assert [record["devpath"] for record in of(records, "device")] == ["/devices/ghost"]
    assert fakes.loader.wanted == []
    assert records[-1]["devices"] == 0


def test_a_late_removal_does_not_take_what_is_there() -> None:
    """A `remove` behind a loss, of a device that has come back since, leaves it in place."""
    fakes = world(5, devices=[Device("/devices/back", "pci", "pci:back")])
    fakes.uevents.script.append(Oddity.OVERRUN)
    fakes.uevents.script.extend([Oddity.EMPTY])
    fakes.uevents.event("/devices/back", 3, "remove", MODALIAS="pci:back")
    assert settle(fakes)[-1]["devices"] == 1


def test_a_repeated_add_asks_for_nothing_twice() -> None:
    """The same device told of again and again (udevadm trigger) has its modules wanted once."""
    fakes = world(50)
    for number in range(1, 51):
        fakes.uevents.event(NIC, number, MODALIAS="pci:x")
    settle(fakes)
    assert fakes.loader.wanted == ["pci:x"]


def test_an_add_after_the_module_was_removed_asks_again() -> None:
    """rmmod, then a synthetic `add`: the module is wanted again, as udev would have it."""
    fakes = world(3)
    fakes.uevents.event(NIC, 1, MODALIAS="pci:x")
    fakes.uevents.event("/module/pci:x", 2, "remove", SUBSYSTEM="module")
    fakes.uevents.event(NIC, 3, MODALIAS="pci:x")
    settle(fakes)
    assert fakes.loader.wanted == ["pci:x", "pci:x"]


def test_a_moved_device_takes_its_children_along() -> None:
    """After a move the device and those below it are known by their new paths."""
    fakes = world(4)
    fakes.uevents.event("/devices/old", 1)
    fakes.uevents.event("/devices/old/child", 2)
    fakes.uevents.event("/devices/new", 3, "move", DEVPATH_OLD="/devices/old")
    fakes.uevents.event("/devices/new/child", 4, "remove")
    records = settle(fakes)
    assert records[-1]["devices"] == 1
    assert of(records, "device")[2]["from"] == "/devices/old"


def test_online_offline_change_keep_the_device() -> None:
    """A CPU that goes offline is no removal."""
    fakes = world(4)
    for number, action in enumerate(("add", "offline", "online", "change"), 1):
        fakes.uevents.event("/devices/system/cpu/cpu1", number, action, SUBSYSTEM="cpu", MODALIAS="cpu:x")
    records = settle(fakes)
    assert [record["action"] for record in of(records, "device")] == ["add", "offline", "online", "change"]
    assert (records[-1]["devices"], fakes.loader.wanted) == (1, ["cpu:x"])


def test_drivers_and_caches_are_no_devices() -> None:
    """Uevents of drivers, buses and the slab allocator count as read, and are not written as devices."""
    fakes = world(3)
    for number, path in enumerate(("/bus/pci/drivers/x", "/kernel/slab/x", "/class/net"), 1):
        fakes.uevents.event(path, number, SUBSYSTEM="drivers")
    records = settle(fakes)
    assert of(records, "device") == []
    assert (records[-1]["devices"], records[-1]["seqnum"]) == (0, 3)


def test_what_is_no_uevent_is_dropped_and_counted() -> None:
    """A forgery, and datagrams of the kernel's port that are no uevents, are told with a reason and a count."""
    fakes = world(0)
    fakes.uevents.script.extend(
        [Oddity.FORGED, Datagram(b""), Datagram(b"add@/devices/x"), Datagram(b"\xff\0" * 9)]
    )
    records = settle(fakes)
    assert [record["count"] for record in of(records, "dropped")] == [1, 2, 3, 4]
    assert records[-1]["dropped"] == 4


def test_times_are_of_the_receipt() -> None:
    """An event's line has the time at which it was read, before anything was done about the one before it."""
    fakes = world(2)
    ticks = iter(range(1, 10**6))
    fakes.clock = lambda: next(ticks)
    fakes.uevents.event(NIC, 1, MODALIAS="pci:x")
    fakes.uevents.event("/devices/pci0000:00/0000:00:04.0", 2, MODALIAS="pci:y")
    first, second = of(settle(fakes), "device")
    assert second["t_us"] == first["t_us"] + 1


def test_a_modules_line_has_the_time_of_its_receipt() -> None:
    """That of the event, though it is written after others."""
    fakes = world(3)
    ticks = iter(range(1, 10**6))
    fakes.clock = lambda: next(ticks)
    for number, action in ((1, "add"), (2, "add"), (3, "remove")):
        fakes.uevents.event(f"/module/m{number}", number, action, SUBSYSTEM="module")
    first, second, third = of(settle(fakes), "module")
    assert (second["t_us"], third["t_us"]) == (first["t_us"] + 1, first["t_us"] + 2)


def test_what_is_handled_is_sent_on_if_somebody_listens() -> None:
    """With a listener on group 2 every event goes out in libudev's format; without one none does."""
    fakes = world(2)
    fakes.uevents.event(NIC, 1, MODALIAS="pci:x")
    fakes.uevents.event(NIC, 2, "bind", DRIVER="x")
    fakes.uevents.listening = True
    settle(fakes)
    assert [message[:8] for message in fakes.uevents.sent] == [b"libudev\0"] * 2
    assert b"\0ACTION=bind\0" in fakes.uevents.sent[1]
    quiet = world(1)
    quiet.uevents.event(NIC, 1)
    settle(quiet)
    assert quiet.uevents.sent == []


def test_a_storm_lets_others_have_their_turn() -> None:
    """While thousands of events wait, a turn of the loop takes EVENTS_A_TURN of them and no more."""
    fakes = world(2000)
    for number in range(1, 2001):
        fakes.uevents.event(NIC, number)
    service = fakes.service()
    before = len(fakes.uevents.script)
    service._serve(fakes.uevents.fileno())
    assert before - len(fakes.uevents.script) == EVENTS_A_TURN <= 64


def test_policy_is_asked_before_anything_is_wanted() -> None:
    """A frozen machine loads for a device what a rule allows, and writes each verdict with its line."""
    fakes = world(2)
    policy = parse_policy('[[rule]]\naction = "allow"\nmodule = "pci:good"\n', "/etc/p.toml")
    fakes.policy, fakes.phase = policy, Phase.FROZEN
    fakes.uevents.event("/devices/good", 1, MODALIAS="pci:good")
    fakes.uevents.event("/devices/bad", 2, MODALIAS="pci:bad")
    records = settle(fakes)
    good, bad = of(records, "verdict")
    assert (good["verdict"], good["file"], good["line"]) == ("allow", "/etc/p.toml", 1)
    assert (bad["verdict"], bad["phase"], bad.get("line")) == ("deny", "frozen", None)
    assert of(records, "frozen")


def test_why_something_was_dropped() -> None:
    """A forgery says so; the reason is the ledger's."""
    fakes = world(0)
    fakes.uevents.script.append(Oddity.FORGED)
    assert [record["reason"] for record in of(settle(fakes), "dropped")] == ["the sender is not the kernel"]


def test_whether_there_was_anything() -> None:
    """A batch is something, and so is an overrun without one; an empty socket is nothing."""
    fakes = world(1)
    intake = fakes.service()._intake
    while intake.read():
        pass
    fakes.uevents.event(NIC, 1)
    assert intake.read() is True
    assert intake.drained is True
    assert intake.read() is False
    fakes.uevents.script.append(Oddity.OVERRUN)
    assert intake.read() is True


def test_a_bind_without_a_name_has_the_drivers_from_sys(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel may leave DRIVER out; the link says it. An unbind needs none."""
    fakes = world(2)
    monkeypatch.setattr(fakes.sysfs, "driver", {NIC: "drv"}.__getitem__)
    monkeypatch.setattr(fakes.sysfs, "driver_module", {NIC: "drv_module"}.__getitem__)
    fakes.uevents.event(NIC, 1, "bind")
    fakes.uevents.event(NIC, 2, "unbind")
    bind, unbind = of(settle(fakes), "device")
    assert (bind["driver"], bind["module"]) == ("drv", "drv_module")
    assert not unbind.get("driver")
    assert "module" not in unbind


def test_an_event_is_sent_on_when_its_loads_have_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """libudev's clients hear of a device whose module is being loaded after that, and of its kind by tags."""
    fakes = world(1)
    fakes.uevents.listening = True
    pending = {"pci:x"}
    monkeypatch.setattr(fakes.loader, "is_pending", pending.__contains__)
    service = fakes.service()
    while service._intake.read():
        pass
    fakes.uevents.event(NIC, 2, MODALIAS="pci:x", DEVTYPE="card")
    service._intake.read()
    assert fakes.uevents.sent == []
    service._intake.loads_ended()
    assert fakes.uevents.sent == []
    pending.clear()
    service._intake.loads_ended()
    [message] = fakes.uevents.sent
    assert message == monitor_message(_datagram(NIC, MODALIAS="pci:x", DEVTYPE="card"), "pci", "card")


def _datagram(devpath: str, **env: str) -> bytes:
    uevents = FakeUevents()
    uevents.event(devpath, 2, **env)
    [got] = uevents.script
    assert isinstance(got, Datagram)
    return got.payload


def test_a_trigger_brings_no_module() -> None:
    """`udevadm trigger` has the kernel say `add` of every entry of /sys/module again; no module has come by that."""
    fakes = Fakes()
    fakes.uevents.event("/module/e1000", 1, SUBSYSTEM="module", SYNTH_UUID="0")
    fakes.uevents.event("/module/nvme", 2, SUBSYSTEM="module")
    fakes.sysfs.seqnums.clear()
    fakes.sysfs.seqnums.extend([0, 2])
    fakes.service().run(once=True)
    assert [record["module"] for record in fakes.records() if record["type"] == "module"] == ["nvme"]
