"""A boot that never settles, since one load hangs; and a freeze, a death and a new life with no inode left in /run."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from hostbuild.image.build import ImageOptions, build_image
from hostbuild.qemu.boot import Boot
from hostbuild.qemu.device import parse_device
from hostbuild.qemu.machine import read_machine
from hostbuild.qemu.vm import VM
from tests.support.faulty import read_ledger

pytestmark = pytest.mark.vm

FILES = {
    "etc/modprobe.d/hang.conf": "install i6300esb sleep 100000\n",
    "etc/modaliasd/policy.toml": '[[rule]]\naction = "deny"\nphase = "hotplug"\nmodule = "virtio_rng"\n',
}


@pytest.fixture(scope="module")
def vm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VM]:
    """A machine whose watchdog's driver never comes in."""
    folder = tmp_path_factory.mktemp("stuck")
    overlay = folder / "overlay"
    for name, text in FILES.items():
        path = overlay / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    built = build_image(
        folder / "i.img",
        ImageOptions(kernel="deb:linux-image-amd64", modules="virtio,e1000,i6300esb", overlays=(overlay,)),
    )
    machine = replace(read_machine("empty"), root_ports=2).plus(map(parse_device, ("i6300esb", "e1000")))
    boot = Boot(built.kernel.vmlinuz, built.image, append="loglevel=4", memory=512, limit_s=400)
    with VM(machine, boot) as running:
        running.wait_for("slow", timeout=200)
        yield running


def verdicts(vm: VM, module: str) -> list[tuple[str, str]]:
    """What the policy said of the module, and in which phase."""
    return [(r["verdict"], r["phase"]) for r in read_ledger(vm, "verdict") if r["module"] == module]


def test_the_rules_for_hotplug_hold_though_the_boot_never_settles(vm: VM) -> None:
    """What was there is loaded; a warning names the load that ends the coldplug; a device plugged then is denied."""
    vm.check(
        'until grep -q \'"what":"coldplug"\' /run/modaliasd/ledger.jsonl; do usleep 100000; done', timeout=60
    )
    assert verdicts(vm, "e1000") == [("allow", "coldplug")]
    assert "e1000" in vm.check("cut -d' ' -f1 /proc/modules")
    [warning] = [r for r in read_ledger(vm, "warning") if r["what"] == "coldplug"]
    assert "i6300esb" in warning["message"]
    assert read_ledger(vm, "settled") == []
    vm.device_add("virtio-rng-pci")
    vm.check(
        'until grep -q \'"module":"virtio_rng"\' /run/modaliasd/ledger.jsonl; do usleep 100000; done',
        timeout=60,
    )
    assert verdicts(vm, "virtio_rng") == [("deny", "hotplug")]
    assert vm.check("modaliasd load e1000", timeout=20) == "", "though another load hangs"


def test_a_freeze_a_death_and_a_life_without_an_inode(vm: VM) -> None:
    """/run has no inode left: the kernel's helper is replaced all the same; the next daemon is frozen and answers."""
    used = int(vm.check("df -i /run | tail -1").split()[2])
    vm.check(f"mount -o remount,nr_inodes={used} /run")
    assert vm.sh("touch /run/one-more").status != 0
    vm.check("modaliasd freeze")
    assert vm.check("cat /proc/sys/kernel/modprobe").strip() == "/usr/lib/micro/frozen-modprobe"
    assert vm.sh("test -e /run/modaliasd/frozen").status != 0
    vm.check("kill -9 $(pidof modaliasd)")
    vm.check("until modaliasd status >/dev/null 2>&1; do usleep 200000; done", timeout=60)
    assert read_ledger(vm, "frozen"), "by the daemon that was told, and by the next"
    lives = read_ledger(vm, "start")
    assert len(lives) == 2
    after = [r for r in read_ledger(vm, "frozen") if r["t_us"] > lives[-1]["t_us"]]
    assert len(after) == 1
    assert vm.sh("modaliasd may-load fs-xfs").status == 1
