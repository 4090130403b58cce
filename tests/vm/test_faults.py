"""A machine where all goes wrong: a buffer that is too small, forgers, a policy, a broken modprobe, a full /run.

One boot, with a uevent buffer of 4 KiB from the start. The tests go from the harmless to what breaks most.
"""

import json
import shlex
from collections.abc import Iterator
from dataclasses import replace

import pytest

from hostbuild.image.build import ImageOptions, build_image
from hostbuild.image.sources.extras import Extra
from hostbuild.qemu.device import parse_device
from hostbuild.qemu.machine import read_machine
from hostbuild.qemu.vm import VM
from tests.support.boots import vm_of
from tests.support.faulty import (
    PYTHON,
    RESCAN,
    last_load,
    other_modprobe,
    read_ledger,
    replug,
    restart,
    settle,
    slot_of,
    slot_of_idle,
    want_other_symbol,
)
from tests.support.packed import read_packed
from tests.support.schema import check_records
from tests.support.stormguest import write_overlay

pytestmark = pytest.mark.vm

POLICY = """unload = ["usb"]
[[rule]]
action = "deny"
phase = ["hotplug", "frozen"]
modalias = "usb:*ic03*"
[[rule]]
action = "allow"
phase = "frozen"
module = ["virtio_rng", "xfs"]
"""
DEVICES = ("qemu-xhci,id=xhci", "virtio-rng-pci", "virtio-balloon-pci", "i6300esb", "e1000", "rtl8139")


@pytest.fixture(scope="module")
def vm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VM]:
    """The machine, settled in spite of its small buffer."""
    folder = tmp_path_factory.mktemp("faults")
    overlay = write_overlay(folder / "overlay", POLICY)
    options = ImageOptions(
        kernel="deb:linux-image-amd64", modules="qemu,xfs,btrfs", overlays=(overlay,), extras=(Extra.AUDIT,)
    )
    built = build_image(folder / "faults.img", options)
    machine = replace(read_machine("empty"), root_ports=4).plus(map(parse_device, DEVICES))
    append = "modaliasd.rcvbuf=4096 loglevel=4"
    with vm_of(built, machine, append=append, memory="768", limit_s=1200) as running:
        running.settled(timeout=240)
        yield running


def test_a_boot_with_a_small_buffer_misses_nothing(vm: VM) -> None:
    """Events were lost at the boot, and made good: libudev knows no device that the ledger has not."""
    settled = settle(vm)
    assert settled["recovered"] > 0
    assert settled["lost"] == 0
    assert {record["reason"] for record in read_ledger(vm, "lost")} == {"overrun"}
    assert "libudev and the ledger agree" in vm.check("modaliasd audit", timeout=100)


def test_a_storm_with_a_small_buffer(vm: VM) -> None:
    """2,000 events into a buffer for one or two: most are lost, walks make good for them, the daemon hears on."""
    before = settle(vm)["recovered"]
    vm.check("/usr/lib/storm/storm 2000", timeout=200)
    settled = settle(vm)
    assert settled["recovered"] > before
    assert settled["lost"] == 0
    vm.check("ip link add after type dummy")
    assert vm.check("modaliasd wait /sys/devices/virtual/net/after --timeout 30", timeout=40)
    assert "libudev and the ledger agree" in vm.check("modaliasd audit", timeout=100)


def test_libudevs_clients_hear_of_it_after_the_load(vm: VM) -> None:
    """pyudev's Monitor(source="udev"), filtered for PCI, gets the card's `add` once its module is in, then `bind`."""
    vm.check(f"{PYTHON} /usr/lib/storm/monitor.py pci >/tmp/heard 2>&1 & ")
    vm.check("until grep -q listening /tmp/heard; do usleep 100000; done", timeout=60)
    slot = slot_of(vm, "e1000")
    vm.check("rmmod e1000")
    replug(vm, slot)
    vm.check("modaliasd wait driver:e1000 --timeout 30", timeout=40)
    vm.check(f"until grep -q 'bind.*{slot}' /tmp/heard; do usleep 100000; done", timeout=60)
    heard = [line for line in vm.check("cat /tmp/heard").splitlines() if slot in line]
    actions = [line.split(" ")[0] for line in heard]
    assert actions[-3:] == ["remove", "add", "bind"], heard
    assert heard[-2].endswith("True"), "the module was in the kernel when the client heard of the device"
    assert all(line.split(" ")[1] == "pci" for line in heard)


def test_forged_events_are_counted_and_nothing_else(vm: VM) -> None:
    """Seven datagrams by root, 64 KiB ones among them, are dropped; an unprivileged process cannot even send."""
    dropped = settle(vm)["dropped"]
    assert vm.check(f"{PYTHON} /usr/lib/storm/forge.py").split() == ["sent"] * 7
    unprivileged = vm.check(f"{PYTHON} /usr/lib/storm/forge.py nobody")
    assert unprivileged.splitlines() == ["Operation not permitted"] * 7
    settled = settle(vm)
    assert settled["dropped"] > dropped
    assert settled["dropped"] <= dropped + 7
    assert read_ledger(vm, "dropped")[-1]["reason"] == "the sender is not the kernel"
    assert vm.sh("grep -F forged /run/modaliasd/ledger.jsonl").output == ""


def test_only_root_is_heard(vm: VM) -> None:
    """An unprivileged process does not get through to the control socket, nor can it write the ledger."""
    script = (
        "from posix import setuid; setuid(65534); from _socket import *; s = socket(AF_UNIX, SOCK_STREAM); "
        's.connect("/run/modaliasd/control")'
    )
    assert "PermissionError" in vm.sh(f"{PYTHON} -c {shlex.quote(script)}").output
    assert vm.check("stat -c '%a %u' /run/modaliasd/control /run/modaliasd/ledger.jsonl").split("\n")[:2] == [
        "600 0",
        "644 0",
    ]


@pytest.mark.parametrize(
    "name", ["-rf", "$(reboot)", "\"q'", "a;b|c", "../../x", "*", "[", "\\xff\\xfe", "i2c:x"]
)
def test_odd_names_from_the_kernel_itself(vm: VM, name: str) -> None:
    """An I2C device of any name is written with exactly that modalias, matches nothing, and runs nothing."""
    bus = vm.check("basename $(ls -d /sys/bus/i2c/devices/i2c-* | head -n 1)").strip()
    folder = f"/sys/bus/i2c/devices/{bus}"
    printed = f"printf %b {shlex.quote(name)}"
    vm.check(f'echo "$({printed}) 0x2a" >{folder}/new_device')
    settle(vm)
    shown = [r for r in read_ledger(vm, "device") if r["devpath"].endswith("-002a") and r["action"] == "add"][
        -1
    ]
    raw = name.encode().decode("unicode_escape").encode("latin-1") if "\\x" in name else name.encode()
    assert shown["modalias"].encode("utf-8", "surrogateescape") == b"i2c:" + raw
    assert shown["matches"] == []
    vm.check(f"echo 0x2a >{folder}/delete_device")


def test_a_keyboard_that_is_plugged_in_later_is_denied(vm: VM) -> None:
    """The policy's rule refuses usbhid for it, by file and line; the keyboard has no driver; a disk is not refused."""
    since = len(vm.ledger)
    keyboard = vm.device_add("usb-kbd", bus="xhci.0")
    verdict = vm.wait_for(lambda r: r["type"] == "verdict" and r["module"] == "usbhid", since=since)
    assert (verdict["verdict"], verdict["phase"]) == ("deny", "hotplug")
    assert (verdict["file"], verdict["line"]) == ("/etc/modaliasd/policy.toml", 2)
    settle(vm)
    assert last_load(vm, "usbhid")["outcome"] == "denied"
    assert vm.sh("grep -w ^usbhid /proc/modules").status == 1
    vm.device_del(keyboard)


def test_unloading_where_the_policy_says_so(vm: VM) -> None:
    """`unload = ["usb"]`: usb_storage comes with its disk and goes with it."""
    disk = vm.device_add("usb-storage", bus="xhci.0")
    vm.check("modaliasd wait driver:usb-storage --timeout 60", timeout=70)
    settle(vm)
    vm.device_del(disk)
    vm.wait_for(lambda r: r["type"] == "unload" and r["module"] == "usb_storage", timeout=60)
    settle(vm)
    assert [r["outcome"] for r in read_ledger(vm, "unload") if r["module"] == "usb_storage"] == ["removed"]
    assert vm.sh("grep -w ^usb_storage /proc/modules").status == 1


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo nonsense; exit 0", ""),
        ("echo 'it broke' >&2; exit 3", "it broke"),
        ("kill -9 $$", "9"),
        ("head -c 200000 /dev/zero | tr '\\\\0' x", ""),
        ("exec /nowhere", ""),
    ],
    ids=["lies", "fails", "killed", "chatters", "half-missing"],
)
def test_a_broken_modprobe(vm: VM, script: str, message: str) -> None:
    """Whatever modprobe does instead of loading, the load has failed, the daemon settles and the next try works."""
    slot = slot_of_idle(vm, "0x25ab")
    check_broken_modprobe(vm, slot, script, message)


def check_broken_modprobe(vm: VM, slot: str, script: str, message: str) -> None:
    """With the script for a modprobe the load fails with the message; with the real one it works."""
    vm.sh("rmmod i6300esb")
    with other_modprobe(vm, script):
        replug(vm, slot)
    failed = last_load(vm, "i6300esb")
    assert failed["outcome"] == "failed"
    assert message in failed["message"]
    replug(vm, slot)
    assert last_load(vm, "i6300esb")["outcome"] == "inserted"


def test_no_modprobe_at_all(vm: VM) -> None:
    """Without modprobe the load fails and says which program is missing."""
    slot = slot_of_idle(vm, "0x25ab")
    vm.sh("rmmod i6300esb")
    with other_modprobe(vm, None):
        replug(vm, slot)
    assert "/sbin/modprobe" in last_load(vm, "i6300esb")["message"]
    replug(vm, slot)
    assert last_load(vm, "i6300esb")["outcome"] == "inserted"


def test_a_modprobe_that_hangs_holds_up_nobody_else(vm: VM) -> None:
    """One that does not end is named as slow and left alone; another device's module is loaded meanwhile."""
    slow, other = slot_of_idle(vm, "0x25ab"), slot_of_idle(vm, "0x8139")
    vm.sh("rmmod i6300esb 8139cp")
    script = 'case "$*" in *i6300esb*) sleep 14;; esac\nexec /bin/busybox modprobe "$@"'
    since = len(vm.ledger)
    with other_modprobe(vm, script):
        vm.check(RESCAN % slow)
        vm.check(RESCAN % other)
        vm.check("modaliasd wait driver:8139cp --timeout 30", timeout=40)
        assert vm.sh("grep -w ^i6300esb /proc/modules").status == 1
        report = vm.wait_for("slow", timeout=60, since=since)
        assert report["module"] == "i6300esb"
        assert slow in report["causes"][-1]["devpath"]
        settle(vm)
    assert last_load(vm, "i6300esb")["outcome"] == "inserted"


def test_a_truncated_module(vm: VM) -> None:
    """Half a .ko does not load, and the ledger says so; the whole one does at the next plug."""
    slot = slot_of_idle(vm, "0x8139")
    path = vm.check("echo /lib/modules/*/kernel/drivers/net/ethernet/realtek/8139cp.ko").strip()
    vm.sh("rmmod 8139cp")
    vm.check(f"cp {path} /tmp/whole; head -c 9000 /tmp/whole >{path}")
    replug(vm, slot)
    failed = last_load(vm, "8139cp")
    assert failed["outcome"] == "failed"
    assert failed["message"]
    vm.check(f"cp /tmp/whole {path}")
    replug(vm, slot)
    assert last_load(vm, "8139cp")["outcome"] == "inserted"


def test_a_module_with_an_unknown_symbol(vm: VM) -> None:
    """A .ko that needs what this kernel does not have fails by that name; the right one loads at the next plug."""
    slot = slot_of_idle(vm, "0x8139")
    path = vm.check("echo /lib/modules/*/kernel/drivers/net/ethernet/realtek/8139cp.ko").strip()
    vm.sh("rmmod 8139cp")
    want_other_symbol(vm, path)
    replug(vm, slot)
    failed = last_load(vm, "8139cp")
    assert failed["outcome"] == "failed"
    assert "Unknown symbol pci_enable_devicX" in failed["message"]
    assert "neither the kernel nor a loaded module exports" in failed["message"]
    vm.check(f"cp /tmp/whole {path}")
    replug(vm, slot)
    assert last_load(vm, "8139cp")["outcome"] == "inserted"


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo $$ >/tmp/cgroup/small/cgroup.procs; exec tail -c 900000000 /dev/zero", "out of memory"),
        ('ulimit -v 64; exec /bin/busybox modprobe "$@"', "signal"),
    ],
    ids=["the OOM killer", "no address space"],
)
def test_a_child_without_memory(vm: VM, script: str, message: str) -> None:
    """A modprobe that gets no memory is a failed load that says so; the daemon and the next try are none the worse."""
    slot = slot_of_idle(vm, "0x25ab")
    vm.check(
        "mkdir -p /tmp/cgroup; mountpoint -q /tmp/cgroup || mount -t cgroup2 none /tmp/cgroup; "
        "cd /tmp/cgroup; echo +memory >cgroup.subtree_control; mkdir -p small; echo 4M >small/memory.max"
    )
    check_broken_modprobe(vm, slot, script, message)


def test_no_more_descriptors(vm: VM) -> None:
    """With 18 descriptors, and clients that hold all that are left: no death, no spinning, a load that is told of.

    Once the clients have gone, all is as before; what went on meanwhile is known.
    """
    slot = slot_of_idle(vm, "0x8139")
    limited = shlex.quote('#!/bin/sh\nulimit -n 18\nexec /tmp/real/modaliasd "$@"\n')
    vm.check(
        f"mkdir /tmp/real; mv /usr/bin/modaliasd /tmp/real; printf {limited} >/usr/bin/modaliasd; "
        "chmod +x /usr/bin/modaliasd"
    )
    lives = restart(vm)
    settle(vm)
    vm.sh("rmmod 8139cp")
    vm.check(f"{PYTHON} -c {shlex.quote(HOLD)} >/tmp/held 2>&1 & ")
    vm.check("until grep -q held /tmp/held; do usleep 50000; done", timeout=60)
    assert vm.check("ls /proc/$(pidof modaliasd)/fd | wc -l").strip() == "18"
    vm.check(RESCAN % slot + "; ip link add during type dummy", timeout=60)
    told = """'"module":"8139cp".*Too many open files'"""
    vm.check(f"until grep -q {told} /run/modaliasd/ledger.jsonl; do usleep 50000; done", timeout=60)
    ticks = "awk '{print $14 + $15}' /proc/$(pidof modaliasd)/stat"
    before, after = map(int, vm.check(f"{ticks}; sleep 4; {ticks}").split())
    assert after - before < 100, "a daemon that spins takes most of the 400 ticks"
    vm.check("kill $(cat /tmp/holder)")
    settled = settle(vm)
    assert settled["lost"] == 0
    assert int(vm.check("cat /run/modaliasd/lives")) == lives
    replug(vm, slot_of_idle(vm, "0x8139"))
    assert last_load(vm, "8139cp")["outcome"] == "inserted"
    assert "during" in {r.get("ifname") for r in read_ledger(vm, "device")}
    assert "libudev and the ledger agree" in vm.check("modaliasd audit", timeout=100)
    vm.check("mv /tmp/real/modaliasd /usr/bin/modaliasd")
    restart(vm)
    settle(vm)


# Clients that connect and say nothing, as many as can.
HOLD = """from _socket import *
from posix import getpid
from time import sleep
open("/tmp/holder", "w").write(str(getpid()))
held = []
for _ in range(60):
    client = socket(AF_UNIX, SOCK_STREAM)
    client.connect("/run/modaliasd/control")
    held.append(client)
sleep(1)
print("held", flush=True)
sleep(100)
"""


def test_no_more_processes(vm: VM) -> None:
    """When fork fails the load fails with that reason, and works once there is room again."""
    slot = slot_of_idle(vm, "0x8139")
    vm.sh("rmmod 8139cp")
    vm.check(f"echo 1 >/sys/bus/pci/devices/{slot}/remove")
    settle(vm)
    most = vm.check("cat /proc/sys/kernel/threads-max").strip()
    vm.check(
        "echo 20 >/proc/sys/kernel/threads-max; echo 1 >/sys/bus/pci/rescan; read -t 3 nothing </dev/ttyS0; "
        f"echo {most} >/proc/sys/kernel/threads-max"
    )
    settle(vm)
    failed = last_load(vm, "8139cp")
    assert "Resource temporarily unavailable" in failed["message"]
    replug(vm, slot_of_idle(vm, "0x8139"))
    assert last_load(vm, "8139cp")["outcome"] == "inserted"


def test_the_clock_is_set_back(vm: VM) -> None:
    """With the clock a year back nothing stands still: who waits gets it, and no time runs backwards."""
    slot = slot_of_idle(vm, "0x8139")
    vm.sh("rmmod 8139cp")
    vm.check(f"echo 1 >/sys/bus/pci/devices/{slot}/remove")
    before = settle(vm)
    vm.check("modaliasd wait driver:8139cp --timeout 60 >/tmp/waited 2>&1 &")
    now = int(vm.check("date +%s"))
    vm.check(f"date -s @{now - 365 * 86400}")
    vm.check("echo 1 >/sys/bus/pci/rescan; until [ -s /tmp/waited ]; do usleep 50000; done", timeout=60)
    assert vm.check("cat /tmp/waited").strip().endswith(slot)
    after = settle(vm)
    assert before["t_us"] < last_load(vm, "8139cp")["end_us"] < after["t_us"]
    for kind in ("settled", "load", "walk", "lost"):
        times = [record["t_us"] for record in read_ledger(vm, kind)]
        assert times == sorted(times)
    assert all(r["queued_us"] <= r["end_us"] for r in read_ledger(vm, "load"))
    vm.check(f"date -s @{now}")


def test_a_full_run(vm: VM) -> None:
    """While /run is full everything works; the lines of that time come when there is room again."""
    vm.check("dd if=/dev/zero of=/run/fill bs=64k 2>/dev/null; true", timeout=60)
    size = vm.check("stat -c %s /run/modaliasd/ledger.jsonl")
    vm.check("for n in $(seq 50); do ip link add full$n type dummy; done")
    assert vm.check("modaliasd settle --timeout 60", timeout=70) == ""
    assert int(vm.check("stat -c %s /run/modaliasd/ledger.jsonl")) < int(size) + 8192
    vm.check("rm /run/fill; ip link add room type dummy")
    settle(vm)
    # whether by its own event, or by a walk that found it first
    names = {r.get("ifname") for r in read_ledger(vm, "device")}
    assert {f"full{n}" for n in range(1, 51)} <= names


@pytest.mark.parametrize(
    "damage",
    [
        "rm {0}",
        "head -c 1000 {0} >{0}.x; mv {0}.x {0}",
        "head -c 50000 /dev/urandom >{0}",
        "rm {0}; mkdir {0}",
    ],
    ids=["missing", "cut off", "noise", "a directory"],
)
@pytest.mark.parametrize("file", ["modules.alias.trie", "modules.alias", "modules.dep"])
def test_damaged_indexes(vm: VM, file: str, damage: str) -> None:
    """With an index that is gone or garbage a daemon starts, settles, and says in its ledger what is wrong."""
    path = vm.check(f"echo /lib/modules/*/{file}").strip()
    vm.check(f"cp -a {path} /tmp/saved")
    vm.check(damage.format(path))
    lives = restart(vm)
    settle(vm)
    assert int(vm.check("cat /run/modaliasd/lives")) == lives
    begun = read_ledger(vm, "start")[-1]["t_us"]
    warnings = [f"{r['what']}: {r['message']}" for r in read_ledger(vm, "warning") if r["t_us"] >= begun]
    assert any(file in warning for warning in warnings), warnings
    vm.check(f"rm -rf {path}; cp -a /tmp/saved {path}; rm /tmp/saved")


def test_frozen(vm: VM) -> None:
    """After a freeze only what the policy names is loaded: for devices, for the kernel's requests, in the next life."""
    restart(vm)
    settle(vm)
    vm.check("modaliasd freeze")
    rng, nic = slot_of_idle(vm, "0x1005"), slot_of_idle(vm, "0x100e")
    vm.check("rmmod e1000; rmmod virtio_rng")
    replug(vm, nic)
    replug(vm, rng)
    verdicts = {r["module"]: r for r in read_ledger(vm, "verdict")}
    assert (verdicts["e1000"]["verdict"], verdicts["e1000"]["phase"]) == ("deny", "frozen")
    assert verdicts["virtio_rng"]["verdict"] == "allow"
    assert vm.sh("grep -w ^e1000 /proc/modules").status == 1
    assert vm.sh("grep -w ^virtio_rng /proc/modules").status == 0
    # The kernel's own request: mount(2) asks for fs-xfs and fs-btrfs; there is nothing to mount.
    vm.check("mkdir -p /tmp/at")
    for filesystem in ("xfs", "btrfs"):
        vm.sh(f"mount -t {filesystem} none /tmp/at", timeout=60)
    assert vm.sh("grep -w ^xfs /proc/modules").status == 0
    assert vm.sh("grep -w ^btrfs /proc/modules").status == 1
    asked = {r["modalias"]: r["verdict"] for r in read_ledger(vm, "verdict") if "devpath" not in r}
    assert (asked["fs-xfs"], asked["fs-btrfs"]) == ("allow", "deny")
    restart(vm)
    settle(vm)
    assert read_ledger(vm, "frozen")[-1]["t_us"] > read_ledger(vm, "start")[-1]["t_us"]


def test_every_line_is_whole(vm: VM) -> None:
    """After all of that every line of the guest's ledger is a record of the format."""
    text = read_packed(vm, "cat /run/modaliasd/ledger.jsonl")
    assert check_records(map(json.loads, text.splitlines())) > 1000
