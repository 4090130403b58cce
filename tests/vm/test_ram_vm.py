"""hostbuild.ram against machines: what it says is enough boots, what is less fails with the reason in words."""

import pytest

from hostbuild.errors import GuestError
from hostbuild.initramfs import Built
from hostbuild.machine import read_machine
from hostbuild.ramprobe import read_prediction
from hostbuild.vm import VM, Boot

pytestmark = pytest.mark.vm


def _boot(image: Built, memory: float) -> Boot:
    return Boot(image.kernel.vmlinuz, image.image, memory=int(memory), agent=False, limit_s=120)


def test_the_prediction_is_within_ten_percent(image: Built) -> None:
    """The default image settles in 5 % more than the prediction, and does not boot in 10 % less."""
    least = read_prediction(image.image, image.manifest, image.kernel.vmlinuz).least
    with VM(read_machine("virtio"), _boot(image, least * 1.05)) as vm:
        assert vm.settled()["failed"] == 0
    with VM(read_machine("virtio"), _boot(image, least * 0.9)) as vm, pytest.raises(GuestError):
        vm.settled()


@pytest.mark.parametrize("share", [0.9, 0.6], ids=["no-room-in-tmpfs", "no-memory"])
def test_too_little_memory_is_said_in_words(image: Built, share: float) -> None:
    """A guest that cannot unpack its image ends with the reason, not just with a panic."""
    least = read_prediction(image.image, image.manifest, image.kernel.vmlinuz).least
    with (
        VM(read_machine("virtio"), _boot(image, least * share)) as vm,
        pytest.raises(GuestError, match="the image is too large for this memory") as caught,
    ):
        vm.wait()
    assert "--memory" in caught.value.hint
