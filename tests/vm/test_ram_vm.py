"""hostbuild.qemu.memory against machines: what it says is enough boots, what is less fails with the reason in words."""

import pytest

from hostbuild.errors import GuestError
from hostbuild.image.build import BuiltImage
from hostbuild.qemu.boot import Boot
from hostbuild.qemu.machine import read_machine
from hostbuild.qemu.memory_probe import read_estimate
from hostbuild.qemu.vm import VM

pytestmark = pytest.mark.vm


def _boot(image: BuiltImage, memory: float) -> Boot:
    return Boot(image.kernel.vmlinuz, image.image, memory=int(memory), agent=False, limit_s=120)


def test_the_prediction_is_within_ten_percent(image: BuiltImage) -> None:
    """The default image settles in 5 % more than the prediction; in 10 % less it says why it does not boot."""
    least = read_estimate(image.image, image.manifest, image.kernel.vmlinuz).least
    with VM(read_machine("virtio"), _boot(image, least * 1.05)) as vm:
        assert vm.settled()["failed"] == 0
    _is_told_why(_boot(image, least * 0.9), "does not fit into half of what is free")


def test_a_guest_that_cannot_even_unpack_says_so(image: BuiltImage) -> None:
    """Where the kernel runs out of memory while it unpacks, the panic is explained, too."""
    least = read_estimate(image.image, image.manifest, image.kernel.vmlinuz).least
    _is_told_why(_boot(image, least * 0.6), "(ran out of memory while it unpacked|unpacked it does not fit)")


def _is_told_why(boot: Boot, reason: str) -> None:
    with (
        VM(read_machine("virtio"), boot) as vm,
        pytest.raises(GuestError, match=f"the image is too large for this memory: .*{reason}") as caught,
    ):
        vm.wait()
    assert "--memory" in caught.value.hint
