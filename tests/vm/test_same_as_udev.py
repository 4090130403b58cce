"""The same kernel, modules and devices under Debian's systemd-udevd and under modaliasd: the same modules come in.

udevd is Debian's, unpacked into the image, with all of Debian's rules. /proc/modules is the witness. The kernels are
Debian's of three releases, which differ in their modules (compressed or not), their packages (split or not), and in
what they have.
"""

import functools
from collections.abc import Callable

import pytest

from hostbuild.errors import WorldError
from hostbuild.image.build import BuiltImage, ImageOptions, Modprobe, build_image
from hostbuild.kernels.kernel import require_kernel
from hostbuild.qemu.machine import read_machine
from hostbuild.ui import Silent
from tests.support.boots import vm_of
from tests.support.udevd import WAIT, make_choice

pytestmark = pytest.mark.vm

# What only one of the two loads, and why that is right.
SG = {"sg": "80-drivers.rules has a line that loads it for every SCSI device; no alias asks for it"}
MORE: dict[str, dict[str, str]] = {"virtio": {}, "i440fx": {}, "q35": {}}
LESS = {"virtio": SG, "i440fx": SG, "q35": SG}

OWN, TRIXIE, SID = (f"deb:linux-image-amd64{release}" for release in ("", "/trixie", "/sid"))
BOOTS = [(OWN, "virtio"), (OWN, "i440fx"), (OWN, "q35"), (TRIXIE, "q35"), (SID, "q35")]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], BuiltImage]:
    """Make images with modaliasd, kmod and udevd; `loader=udevd` on the kernel's command line chooses the latter.

    Each kernel is fetched once, into hostbuild's cache, and has one image.
    """
    directory = tmp_path_factory.mktemp("udev")
    overlay = make_choice(directory / "overlay")

    @functools.cache
    def build(kernel: str) -> BuiltImage:
        try:
            require_kernel(kernel, None, Silent())
        except WorldError as e:
            pytest.skip(f"{kernel} is out of reach: {e}")
        options = ImageOptions(kernel=kernel, modprobe=Modprobe.KMOD, overlays=(overlay,))
        return build_image(directory / f"{kernel.replace('/', '-')}.img", options)

    return build


def loaded(image: BuiltImage, machine: str, loader: str) -> set[str]:
    """The modules in the kernel after that one has loaded what it wants."""
    append = f"quiet loader={loader}"
    with vm_of(image, read_machine(machine), append=append, memory="1024", limit_s=300) as vm:
        if loader == "modaliasd":
            vm.settled(timeout=200)
        return set(vm.check(WAIT, timeout=200).split())


@pytest.mark.parametrize(("kernel", "machine"), BOOTS)
def test_the_same_modules(both: Callable[[str], BuiltImage], kernel: str, machine: str) -> None:
    """Whatever udevd has loaded, modaliasd has loaded; each exception, either way, has its reason above."""
    image = both(kernel)
    theirs = loaded(image, machine, "udevd")
    ours = loaded(image, machine, "modaliasd")
    assert len(theirs) > 10
    assert theirs - ours == set(LESS[machine])
    assert ours - theirs == set(MORE[machine])
