"""The boot explained inside a guest: why, why-not and the audit, and a plugged device."""

import json
from collections.abc import Iterator

import pytest

from hostbuild.image.build import BuiltImage, ImageOptions, build_image
from hostbuild.image.sources.extras import Extra
from hostbuild.ledger.diff import compare
from hostbuild.qemu.machine import read_machine
from hostbuild.qemu.vm import VM
from modaliasd.core.ledger.history import history_of
from tests.support.boots import vm_of
from tests.support.schema import check_records
from tests.vm.test_vm import eventually

pytestmark = pytest.mark.vm


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> BuiltImage:
    """An image with pyudev in it, and modules without signatures, BTF and debug sections."""
    path = tmp_path_factory.mktemp("audit") / "audit.img"
    options = ImageOptions(
        kernel="deb:linux-image-amd64",
        modules="virtio,e1000,nf_conntrack,tcp_bbr",
        extras=(Extra.AUDIT,),
        strip=True,
    )
    return build_image(path, options)


@pytest.fixture(scope="module")
def vm(audited: BuiltImage) -> Iterator[VM]:
    with vm_of(audited, read_machine("virtio"), append="loglevel=4", limit_s=300, pvh=True) as machine:
        machine.settled(timeout=150)
        yield machine


def test_libudev_and_the_ledger_agree(vm: VM) -> None:
    """A walk that shares no code with the daemon's finds the same devices with the same modaliases."""
    assert "libudev and the ledger agree" in vm.check("modaliasd audit", timeout=60)


def test_a_ledger_that_lacks_a_device_fails_the_audit(vm: VM) -> None:
    """Against a ledger without the disk's device, and one with a device too many, the status is 1."""
    copy = 'sed \'/virtio_blk/d; /"devname":"vda"/d\' /run/modaliasd/ledger.jsonl >/tmp/less'
    less = vm.sh(f"{copy}; modaliasd audit --ledger /tmp/less", timeout=90)
    assert less.status == 1
    assert "the ledger does not have it" in less.output
    ghost = json.dumps(
        {
            "type": "device",
            "t_us": 1,
            "action": "coldplug",
            "devpath": "/devices/g",
            "subsystem": "pci",
            "modalias": "pci:g",
            "walk": 1,
            "matches": [],
        }
    )
    copy = f"cp /run/modaliasd/ledger.jsonl /tmp/more; echo '{ghost}' >>/tmp/more"
    more = vm.sh(f"{copy}; modaliasd audit --ledger /tmp/more --json", timeout=90)
    assert more.status == 1
    assert json.loads(more.output)["disagreements"] == ["the ledger has /devices/g, libudev does not"]


def test_the_ledger_is_followed(vm: VM) -> None:
    """`ledger --follow --json` passes on what comes after it was started, as valid records, while it goes on."""
    vm.check("(modaliasd ledger --follow --json >/tmp/followed 2>&1 & echo $! >/tmp/follower) </dev/null")
    since = len(vm.ledger)
    nic = vm.device_add("e1000", id="followed")
    vm.settled(since=since, timeout=60)
    vm.device_del(nic)
    vm.wait_for(lambda record: record.get("action") == "remove", since=since, timeout=60)
    come = """until grep -q '"remove"' /tmp/followed; do sleep 1; done"""
    seen = vm.check(
        f"{come}; kill $(cat /tmp/follower); grep -c . /tmp/followed; tail -n 400 /tmp/followed", timeout=60
    )
    count, *lines = seen.splitlines()
    records = [json.loads(line) for line in lines if line.endswith("}")]
    assert int(count) > 300
    check_records(records)
    assert {"add", "bind", "remove"} <= {
        r["action"] for r in records if r["type"] == "device" and "t_us" in r
    }
    assert any(r["type"] == "load" and r["module"] == "e1000" for r in records)


def test_the_kernel_was_entered_unpacked(vm: VM) -> None:
    """By PVH the kernel lies where it was linked for; nothing else of this module sees a difference."""
    assert vm.boot.kernel.name == "vmlinux"
    assert int(vm.check("grep -w _text /proc/kallsyms").split()[0], 16) == 0xFFFFFFFF81000000


def test_the_disk_is_explained(vm: VM) -> None:
    """/dev/vda hangs on a virtio device that asked for virtio_blk, and that on a PCI one (its driver may be inside)."""
    text = vm.check("modaliasd why /dev/vda --color never", timeout=60)
    assert "asked for virtio_blk by virtio:d00000002v*" in text
    _, _, above = text.partition("asked for virtio_blk")
    assert "hangs on pci 0000:00:" in above
    assert "driven by virtio-pci" in above


def test_a_module_that_the_image_lacks_is_said_to_be_missing(vm: VM) -> None:
    """nvme is not in this image: the answer says which option brings it."""
    answer = vm.check("modaliasd why-not nvme --color never", timeout=60)
    assert "it is not in this image" in answer
    assert "hostbuild make-image --modules qemu,nvme" in answer


def test_a_plugged_card_is_explained(vm: VM) -> None:
    """After a hotplug the tree of the news has the card, its module and its interface, and no more."""
    count = len(vm.ledger)
    vm.device_add("e1000")
    vm.settled(since=count, timeout=60)

    def tree() -> str:
        return vm.check("modaliasd tree --new --color never", timeout=60)

    # The kernel tells of a card before drivers may have it (drivers/pci/bus.c, pci_bus_add_device): a quick load is
    # settled first.
    assert eventually(lambda: "driver e1000" in tree(), 30)
    text = tree()
    assert "e1000 loaded in" in text
    assert "virtio_blk" not in text
    assert "libudev and the ledger agree" in vm.check("modaliasd audit", timeout=60)


def test_stripped_modules_work(vm: VM) -> None:
    """All of them are taken, also those that register functions for BPF; the kernel is tainted (E): `why` says so."""
    loads = [record for record in vm.ledger if record["type"] == "load"]
    assert len(loads) > 8  # four of 6.1's are inside later kernels
    assert not [record for record in loads if record["outcome"] != "inserted"]
    vm.check("modprobe nf_conntrack && modprobe tcp_bbr", timeout=60)
    log = vm.check("dmesg")
    assert "module verification failed" in log
    assert "missing module BTF" not in log
    assert int(vm.check("cat /proc/sys/kernel/tainted")) & 1 << 13
    assert "stripped by make-image" in vm.check("modaliasd why e1000 --color never")
    assert "sha256_ssse3" not in {record["module"] for record in loads[:5]}


def test_the_guests_ledger_is_valid_and_like_itself(vm: VM) -> None:
    """Every record that came over the channel keeps to the schema; a boot is no regression of itself."""
    records = list(vm.ledger)
    assert check_records(records) > 100
    assert not compare(history_of(records), history_of(records)).regression
