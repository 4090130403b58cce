"""What a machine may do to the daemon: a modprobe that sleeps where nobody can wake it, no memory, another namespace.

One boot; the tests go from the harmless to what breaks most.
"""

import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

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
    read_ledger,
    replug,
    restart,
    settle,
    slot_of_idle,
)

pytestmark = pytest.mark.vm

DEAF = Path(__file__).parents[1] / "support/deaffuse.py"
WATCHDOG, CARD, ENTROPY = "0x25ab", "0x8139", "0x1005"  # PCI's numbers of the devices


@pytest.fixture(scope="module")
def vm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VM]:
    """A machine with little memory, settled."""
    folder = tmp_path_factory.mktemp("adverse")
    overlay = folder / "overlay"
    (overlay / "usr/lib/deaf").mkdir(parents=True)
    (overlay / "usr/lib/deaf/deaffuse.py").write_bytes(DEAF.read_bytes())
    options = ImageOptions(
        kernel="deb:linux-image-amd64",
        modules="virtio,i6300esb,8139cp,fuse,dummy",
        overlays=(overlay,),
        extras=(Extra.AUDIT,),
    )
    built = build_image(folder / "adverse.img", options)
    machine = read_machine("empty").plus(map(parse_device, ("virtio-rng-pci", "i6300esb", "rtl8139")))
    with vm_of(
        built, replace(machine, root_ports=1), append="loglevel=4", memory="320", limit_s=900
    ) as running:
        running.settled(timeout=240)
        yield running


def until(vm: VM, condition: str, limit_s: int = 40) -> None:
    """Wait in the guest; the wait itself ends in time, or the guest could not be asked anything more."""
    loop = shlex.quote(f"until {condition}; do usleep 100000; done")
    vm.check(f"timeout {limit_s} sh -c {loop}", timeout=limit_s + 20)


def test_a_daemon_in_another_network_namespace(vm: VM) -> None:
    """It hears of devices, and not of the machine's network links: a walk finds these, and it settles."""
    vm.check("mkdir /tmp/real; cp /usr/bin/modaliasd /tmp/real")
    # only the daemon: each new namespace takes numbers of its own
    script = '#!/bin/sh\n[ "$1" != run ] || exec unshare -n /tmp/real/modaliasd run\nexec /tmp/real/modaliasd "$@"\n'
    vm.check(
        f"printf %s {shlex.quote(script)} >/tmp/wrapper; chmod +x /tmp/wrapper; cp /tmp/wrapper /usr/bin/modaliasd"
    )
    restart(vm)
    settle(vm)
    ours, its = vm.check("for pid in 1 $(pidof modaliasd); do readlink /proc/$pid/ns/net; done").split()
    assert ours != its
    vm.sh("rmmod i6300esb")
    replug(vm, slot_of_idle(vm, WATCHDOG))
    assert last_load(vm, "i6300esb")["outcome"] == "inserted"
    vm.check("ip link add elsewhere type dummy")
    settled = settle(vm)
    assert settled["lost"] == 0
    assert settled["recovered"] > 0
    assert "elsewhere" in {r.get("ifname") for r in read_ledger(vm, "device")}
    vm.check("cp /tmp/real/modaliasd /usr/bin/modaliasd")
    restart(vm)
    settle(vm)
    assert "libudev and the ledger agree" in vm.check("modaliasd audit", timeout=100)


def test_a_modprobe_that_nobody_can_wake(vm: VM) -> None:
    """A module on a file system that does not answer: its modprobe sleeps, and killed, in state D. It is told as slow.

    All else goes on, what waits for it ends at its time limit; the next daemon is none the worse. When the file system
    is gone the load fails, with the reason, and later succeeds.
    """
    slot = slot_of_idle(vm, WATCHDOG)
    path = vm.check("echo /lib/modules/*/kernel/drivers/watchdog/i6300esb.ko").strip()
    vm.sh("rmmod i6300esb; modprobe fuse; rmmod 8139cp")
    vm.check("[ -e /dev/fuse ] || mknod /dev/fuse c 10 229")
    vm.check(f"{PYTHON} /usr/lib/deaf/deaffuse.py {path} >/tmp/deaf 2>&1 & echo $! >/tmp/deaf.pid")
    until(vm, "grep -q mounted /tmp/deaf")
    vm.check(RESCAN % slot)
    until(vm, "pidof modprobe")
    vm.check("kill -9 $(pidof modprobe)")
    asleep = "grep -l '^State:.D' /proc/[0-9]*/status"
    until(vm, asleep)
    until(vm, """grep -q '"type":"slow".*"module":"i6300esb"' /run/modaliasd/ledger.jsonl""")
    assert slot in read_ledger(vm, "slow")[-1]["causes"][0]["devpath"]
    other = slot_of_idle(vm, CARD)
    vm.check(RESCAN % other)
    assert vm.check("modaliasd wait driver:8139cp --timeout 30", timeout=40).strip().endswith(other)
    waited = vm.sh("modaliasd settle --timeout 2", timeout=20)
    assert waited.status != 0
    assert "i6300esb" in waited.output
    vm.check("modaliasd status", timeout=20)
    restart(vm)
    until(vm, "modaliasd status >/dev/null 2>&1")
    vm.check("kill -9 $(cat /tmp/deaf.pid)")
    settle(vm)
    failed = last_load(vm, "i6300esb")
    assert failed["outcome"] == "failed"
    assert failed["message"]
    assert vm.sh(asleep).status != 0
    vm.check(f"umount {path}")
    replug(vm, slot_of_idle(vm, WATCHDOG))
    assert last_load(vm, "i6300esb")["outcome"] == "inserted"


# Processes with some MiB each, smaller than the daemon, which do nothing with them.
HOGS = """for n in $(seq 120); do
    awk 'BEGIN { s = sprintf("%3000000s", ""); system("exec sleep 1000") }' &
done >/dev/null 2>&1; sleep 5"""


def test_memory_runs_out(vm: VM) -> None:
    """The kernel's OOM killer takes others, not the daemon, though it is the largest; its children are as any other.

    What went on meanwhile is known, and loads work when there is memory again.
    """
    before = vm.check("pidof modaliasd")
    assert vm.check(f"cat /proc/{before.strip()}/oom_score_adj").strip() == "-1000"
    killed = "dmesg | grep -c 'ut of memory: Killed process'"
    for _ in range(5):
        vm.sh(HOGS, timeout=100)
        if int(vm.sh(killed).output) > 3:
            break
    assert int(vm.check(killed)) > 3
    vm.sh("for n in $(seq 20); do ip link add meanwhile$n type dummy; done", timeout=100)
    vm.sh("killall awk sleep")
    assert "python" not in vm.check("dmesg | grep 'ut of memory: Killed process'")
    assert vm.check("pidof modaliasd") == before
    settle(vm)
    made = {name for name in vm.check("ls /sys/class/net").split() if name.startswith("meanwhile")}
    assert made
    assert made <= {r.get("ifname") for r in read_ledger(vm, "device")}
    vm.sh("rmmod virtio_rng")
    replug(vm, slot_of_idle(vm, ENTROPY))
    assert last_load(vm, "virtio_rng")["outcome"] == "inserted"
    assert "libudev and the ledger agree" in vm.check("modaliasd audit", timeout=100)


def test_children_are_not_spared(vm: VM) -> None:
    """An install line's command, and what it starts, can be killed for its memory."""
    line = "install 8139cp cat /proc/self/oom_score_adj >/tmp/score"
    vm.check(f"mkdir -p /etc/modprobe.d; echo {shlex.quote(line)} >/etc/modprobe.d/score.conf")
    restart(vm)
    settle(vm)
    vm.sh("rmmod 8139cp")
    replug(vm, slot_of_idle(vm, CARD))
    assert vm.check("cat /tmp/score").strip() == "0"
