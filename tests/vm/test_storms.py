"""Storms: more events, devices and deaths at once than a machine sees in its life. One boot; every figure is printed.

The machine has 64 virtio devices behind bridges and a chain of five USB hubs, to begin with.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from hostbuild.image.build import ImageOptions, build_image
from hostbuild.image.sources.extras import Extra
from hostbuild.qemu.device import Device, parse_device
from hostbuild.qemu.machine import read_machine
from hostbuild.qemu.vm import VM
from modaliasd.service.intake import EVENTS_A_TURN
from tests.support.boots import vm_of
from tests.support.packed import read_packed
from tests.support.schema import check_records
from tests.support.stormguest import write_overlay

pytestmark = pytest.mark.vm

BRIDGES, EACH, HUBS = 3, 22, 5
EVENTS = 10_000
KILLS = 20
DISKS = 1000
NICS = 200


def crowd() -> list[Device]:
    """64 virtio devices and more behind bridges, hubs in a chain with a keyboard at its end, and single cards."""
    devices = [f"pci-bridge,id=bridge{n},chassis_nr={n + 1}" for n in range(BRIDGES)]
    devices += [
        f"virtio-rng-pci,bus=bridge{n},addr={slot + 1:#x},disable-legacy=on"
        for n in range(BRIDGES)
        for slot in range(EACH)
    ]
    devices.append("qemu-xhci,id=xhci,p2=8,p3=8")
    port = "1"
    for _ in range(HUBS):
        devices.append(f"usb-hub,bus=xhci.0,port={port}")
        port += ".1"
    devices += [f"usb-kbd,bus=xhci.0,port={port}", "e1000", "virtio-balloon-pci", "i6300esb"]
    return list(map(parse_device, devices))


@pytest.fixture(scope="module")
def vm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VM]:
    """The crowded machine, settled, with libudev as a witness in it."""
    folder = tmp_path_factory.mktemp("storm")
    overlay = write_overlay(folder / "overlay")
    options = ImageOptions(kernel="deb:linux-image-amd64", overlays=(overlay,), extras=(Extra.AUDIT,))
    built = build_image(folder / "storm.img", options)
    machine = replace(read_machine("empty"), root_ports=2).plus(crowd())
    with vm_of(built, machine, append="loglevel=4", memory="1536", limit_s=900) as running:
        running.settled(timeout=240)
        # the keyboard behind five hubs is found 100 ms and more after each of them: the bus is idle in between
        running.check(
            "modaliasd wait driver:usbhid --timeout 120 && modaliasd settle --timeout 60", timeout=200
        )
        yield running


def daemon_kib(vm: VM) -> int:
    """The daemon's resident memory."""
    return int(vm.check("awk '/^VmRSS/ {print $2}' /proc/$(pidof modaliasd)/status"))


def status(vm: VM) -> dict[str, int]:
    """The numbers that `modaliasd status` shows."""
    rows = [line.split() for line in vm.check("modaliasd status").splitlines()]
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}


def settle(vm: VM, timeout: float = 240) -> dict[str, int]:
    """Wait until it has settled; gives the record."""
    vm.check(f"modaliasd settle --timeout {timeout:g}", timeout=timeout + 10)
    last = vm.check('grep \'"type":"settled"\' /run/modaliasd/ledger.jsonl | tail -n 1')
    record: dict[str, int] = json.loads(last)
    return record


def test_a_crowd_that_is_there_at_the_boot(vm: VM) -> None:
    """64 virtio devices behind bridges and the keyboard behind five hubs are bound; one load serves them all."""
    assert vm.check("ls /sys/bus/virtio/drivers/virtio_rng | grep -c '^virtio'").strip() == str(
        BRIDGES * EACH
    )
    assert "1-1.1.1.1.1.1:1.0" in vm.check("ls /sys/bus/usb/drivers/usbhid")
    loads = [r for r in vm.ledger if r["type"] == "load" and r["module"] == "virtio_rng"]
    assert [load["outcome"] for load in loads] == ["inserted"]


def test_ten_thousand_events(vm: VM) -> None:
    """Each of 10,000 events has its record, none is lost, who asks is answered, the daemon grows by 16 MiB at most."""
    before, since = daemon_kib(vm), len(vm.ledger)
    seqnum = int(vm.check("cat /sys/kernel/uevent_seqnum"))
    begun = time.monotonic()
    vm.check(f"/usr/lib/storm/storm {EVENTS} >/dev/null 2>&1 &")
    answers = []
    while vm.sh("pidof storm").status == 0:
        answers.append(float(vm.check(ANSWER_TIME)))
    settled = settle(vm)
    after = daemon_kib(vm)
    print(
        f"{EVENTS} events in {time.monotonic() - begun:.1f} s of wall time; {len(answers)} answers, the slowest after "
        f"{max(answers):.2f} s of the guest's; memory {before} -> {after} KiB"
    )
    vm.wait_for(
        lambda r: r["type"] == "settled" and r["seqnum"] == settled["seqnum"], timeout=200, since=since
    )
    told = {r["seqnum"] for r in vm.ledger[since:] if r["type"] == "device" and "seqnum" in r}
    # The kernel makes none of some devices' requests (a bus may filter them), so its own count is the measure.
    made = int(vm.check("cat /sys/kernel/uevent_seqnum")) - seqnum
    assert made > 0.95 * EVENTS
    assert set(range(seqnum + 1, seqnum + made + 1)) <= told
    assert (settled["lost"], settled["recovered"], settled["dropped"]) == (0, 0, 0)
    assert answers
    # Seconds are nothing to assert on a busy machine. What bounds them: between two looks at its clients the daemon
    # handles two batches at most.
    assert 0 < status(vm)["busiest_turn"] <= 2 * EVENTS_A_TURN
    assert after < before + 16384


# How long the daemon itself takes to answer, in seconds of the guest's clock, the client's start not counted.
ANSWER_TIME = (
    'python3 -SsP -c \'import sys; sys.path.insert(0, "/usr/lib/modaliasd"); from time import monotonic; '
    'from modaliasd.linux.control import ask; t = monotonic(); ask("/run/modaliasd/control", ["status"], 30); '
    "print(monotonic() - t)'"
)


def test_a_thousand_disks(vm: VM) -> None:
    """1,000 SCSI disks of scsi_debug are known, bound and gone again, with nothing lost."""
    begun = time.monotonic()
    vm.check(f"modprobe scsi_debug num_tgts=10 max_luns={DISKS // 10} dev_size_mb=8 delay=0", timeout=400)
    settled = settle(vm, 400)
    print(f"{DISKS} disks in {time.monotonic() - begun:.1f} s of wall time, {settled['bound']} devices bound")
    assert vm.check("ls /sys/bus/scsi/drivers/sd | grep -c :").strip() == str(DISKS)
    assert settled["lost"] == settled["recovered"] == 0
    assert "libudev and the ledger agree" in vm.check("modaliasd audit", timeout=200)
    vm.check("rmmod scsi_debug", timeout=400)
    settled = settle(vm, 400)
    assert settled["lost"] == settled["recovered"] == 0


def test_two_hundred_network_devices(vm: VM) -> None:
    """200 network devices come and go; each is told of twice."""
    since = len(vm.ledger)
    begun = time.monotonic()
    vm.check(f"for n in $(seq {NICS}); do ip link add many$n type dummy; done", timeout=200)
    settle(vm)
    vm.check(f"for n in $(seq {NICS}); do ip link del many$n; done", timeout=200)
    settled = settle(vm)
    print(f"{NICS} network devices came and went in {time.monotonic() - begun:.1f} s of wall time")
    vm.wait_for(
        lambda r: r["type"] == "settled" and r["seqnum"] == settled["seqnum"], timeout=100, since=since
    )
    names = [(r["action"], r["ifname"]) for r in vm.ledger[since:] if r.get("ifname", "").startswith("many")]
    assert len([name for action, name in names if action == "add"]) == NICS
    assert len([name for action, name in names if action == "remove"]) == NICS
    assert settled["lost"] == settled["recovered"] == 0


def test_twenty_deaths(vm: VM) -> None:
    """After kill -9 at 20 random moments of walks and storms, all is bound, and the ledger whole to the last line."""
    lives = int(vm.check("cat /run/modaliasd/lives"))
    vm.check(f"/usr/lib/storm/kills {KILLS} >/dev/null 2>&1", timeout=400)
    settled = settle(vm)
    counted = int(vm.check("cat /run/modaliasd/lives"))
    assert lives < counted <= lives + KILLS  # who is killed before it has counted itself is not counted
    for driver in ("virtio_rng", "virtio_balloon", "e1000", "i6300ESB*timer"):
        assert vm.sh(f"ls -d /sys/bus/*/drivers/{driver}/*:* /sys/bus/*/drivers/{driver}/virtio*").output
    lines = read_packed(vm, "cat /run/modaliasd/ledger.jsonl").splitlines()
    records = [json.loads(line) for line in lines]
    check_records(records)
    starts = [record["respawn"] for record in records if record["type"] == "start"]
    assert starts == sorted(set(starts))
    assert starts[-1] == counted - 1
    assert len(starts) > KILLS // 2
    assert settled["lost"] == 0
    assert "libudev and the ledger agree" in vm.check("modaliasd audit", timeout=200)
    print(f"{KILLS} deaths, {len(starts)} lives told of, {len(records)} records, all whole")
