"""The boot explained inside a guest: why, why-not and the audit, and a plugged device."""

from collections.abc import Iterator

import pytest

from hostbuild.extras import Extra
from hostbuild.initramfs import Built, Options, build_image
from hostbuild.ledgerdiff import compare
from hostbuild.machine import read_machine
from hostbuild.vm import VM, Boot
from modaliasd.core.story import tell
from tests.support.schema import check_records

pytestmark = pytest.mark.vm


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """An image with pyudev in it."""
    path = tmp_path_factory.mktemp("audit") / "audit.img"
    options = Options(kernel="deb:linux-image-amd64", modules="virtio,e1000", extras=(Extra.AUDIT,))
    return build_image(path, options)


@pytest.fixture(scope="module")
def vm(audited: Built) -> Iterator[VM]:
    boot = Boot(audited.kernel.vmlinuz, audited.image, append="loglevel=4", limit_s=300)
    with VM(read_machine("virtio"), boot) as machine:
        machine.settled(timeout=150)
        yield machine


def test_libudev_and_the_ledger_agree(vm: VM) -> None:
    """A walk that shares no code with the daemon's finds the same devices with the same modaliases."""
    assert "libudev and the ledger agree" in vm.check("modaliasd audit", timeout=60)


def test_the_disk_is_explained(vm: VM) -> None:
    """/dev/vda hangs on a virtio device that asked for virtio_blk, and that on a PCI one."""
    text = vm.check("modaliasd why /dev/vda --color never", timeout=60)
    assert "asked for virtio_blk by virtio:d00000002v*" in text
    assert text.index("asked for virtio_blk") < text.index("asked for virtio_pci")


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
    text = vm.check("modaliasd tree --new --color never", timeout=60)
    assert "e1000 loaded in" in text
    assert "driver e1000" in text
    assert "virtio_blk" not in text
    assert "libudev and the ledger agree" in vm.check("modaliasd audit", timeout=60)


def test_the_guests_ledger_is_valid_and_like_itself(vm: VM) -> None:
    """Every record that came over the channel keeps to the schema; a boot is no regression of itself."""
    records = list(vm.ledger)
    assert check_records(records) > 100
    assert not compare(tell(records), tell(records)).regression
