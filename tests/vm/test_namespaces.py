"""Containers come and go: their network namespaces take sequence numbers that the daemon is never told of."""

import time
from collections.abc import Iterator

import pytest

from hostbuild.image.build import ImageOptions, build_image
from hostbuild.qemu.boot import Boot
from hostbuild.qemu.device import parse_device
from hostbuild.qemu.machine import read_machine
from hostbuild.qemu.vm import VM
from tests.support.faulty import read_ledger, settle

pytestmark = pytest.mark.vm

LOOP = (
    "while [ ! -e /tmp/stop ]; do unshare -n ip link add d0 type dummy; usleep 200000; done >/dev/null 2>&1 &"
)
CPU = "cut -d' ' -f14,15 /proc/$(pidof modaliasd | cut -d' ' -f1)/stat; cat /proc/uptime"
LIMIT_S = 2.0  # of the guest's clock
TICKS_A_SECOND = 100


@pytest.fixture(scope="module")
def vm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VM]:
    """A small machine, settled, in which a namespace is born every fifth of a second."""
    folder = tmp_path_factory.mktemp("namespaces")
    built = build_image(
        folder / "i.img", ImageOptions(kernel="deb:linux-image-amd64", modules="virtio,dummy,ifb,i6300esb")
    )
    machine = read_machine("empty").plus(map(parse_device, ("virtio-rng-pci",)))
    boot = Boot(built.kernel.vmlinuz, built.image, append="loglevel=4", memory=512, limit_s=600)
    with VM(machine, boot) as running:
        running.settled(timeout=240)
        running.check("modprobe dummy numdummies=0")
        settle(running)
        running.check(LOOP)
        yield running


def uptime(vm: VM) -> float:
    """Seconds of the guest's clock."""
    return float(vm.check("cat /proc/uptime").split()[0])


def seconds(vm: VM, command: str) -> float:
    """How long the command takes, by the guest's clock."""
    clock = "cut -d' ' -f1 /proc/uptime"
    begun, ended = vm.check(f"{clock}; {command} >/dev/null && {clock}", timeout=100).split()
    return float(ended) - float(begun)


def spent(vm: VM) -> tuple[float, float]:
    """Seconds of CPU that the daemon has had, and of uptime."""
    words = vm.check(CPU).split()
    return (int(words[0]) + int(words[1])) / TICKS_A_SECOND, float(words[2])


def test_settle_and_load_while_namespaces_come_and_go(vm: VM) -> None:
    """The first settle has one walk to wait for, the others none; a load of a live module ends at once."""
    before = len(read_ledger(vm, "walk"))
    numbers = int(vm.check("cat /sys/kernel/uevent_seqnum"))
    first = uptime(vm)
    vm.check("modaliasd settle --timeout 30", timeout=60)
    assert len(read_ledger(vm, "walk")) == before + 1
    shares = []  # of a processor, in each stretch; other guests on the machine make them larger, never smaller
    times = []  # of a settle, a load, and a question that is answered at once
    for _ in range(5):
        cpu_before, since = spent(vm)
        commands = ("modaliasd settle --timeout 30", "modaliasd load virtio_rng", "modaliasd status")
        times.append([seconds(vm, command) for command in commands])
        time.sleep(5)
        cpu, now = spent(vm)
        shares.append((cpu - cpu_before) / (now - since))
    settling, loading, asking = (min(column) for column in zip(*times, strict=True))
    assert settling < asking + LIMIT_S
    assert loading < asking + LIMIT_S
    assert int(vm.check("cat /sys/kernel/uevent_seqnum")) > numbers + 100, "the loop takes numbers"
    settled = settle(vm)
    walks = len(read_ledger(vm, "walk")) - before
    print(
        f"{uptime(vm) - first:.0f} s: {walks} walks, {[f'{share:.1%}' for share in shares]} of CPU: {settled}"
    )
    assert settled["unseen"] > 100
    assert settled["lost"] == 0
    assert walks <= 4
    assert min(shares) < 0.03
    assert max(shares) < 0.3


def test_a_device_of_our_own_is_told_of_meanwhile(vm: VM) -> None:
    """Between all these numbers a real event is what it was: the device is known when the next settle is told."""
    vm.check("ip link add ours type dummy")
    settle(vm)
    assert vm.check("modaliasd wait /sys/devices/virtual/net/ours --timeout 5", timeout=20)
    vm.check("touch /tmp/stop")
