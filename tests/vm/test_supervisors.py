"""The services for OpenRC and s6, under Debian's OpenRC and s6."""

from collections.abc import Iterator

import pytest

from hostbuild.errors import HostbuildError
from hostbuild.image.build import ImageOptions, build_image
from hostbuild.qemu.machine import read_machine
from hostbuild.qemu.vm import VM
from tests.support.boots import vm_of
from tests.support.supervisors import make_overlay
from tests.vm.test_vm import eventually

pytestmark = [pytest.mark.vm, pytest.mark.net]


@pytest.fixture(scope="module")
def vm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VM]:
    """A guest whose services are OpenRC's, settled."""
    folder = tmp_path_factory.mktemp("supervisors")
    try:
        overlay = make_overlay(folder / "overlay")
    except HostbuildError as e:
        pytest.skip(f"the packages openrc and s6 are not to be had: {e}")
    options = ImageOptions(kernel="deb:linux-image-amd64", overlays=(overlay,))
    built = build_image(folder / "supervisors.img", options)
    with vm_of(built, read_machine("virtio"), limit_s=240) as running:
        running.settled(timeout=150)
        yield running


def daemon(vm: VM) -> str:
    """Its process, "" for none."""
    return vm.sh("pidof modaliasd").output.strip()


def test_openrc(vm: VM) -> None:
    """Its sysinit starts the service and waits for it to settle; one that dies is there again; `stop` ends it."""
    assert "status: started" in vm.check("rc-service modaliasd status 2>&1")
    assert "has not settled" not in vm.console
    assert vm.check("cat /sys/class/net/eth0/address")  # its module was loaded
    first = daemon(vm)
    vm.check(f"kill -9 {first}")
    assert eventually(lambda: daemon(vm) not in ("", first), 30)
    assert eventually(lambda: vm.sh("modaliasd settle --timeout 20").status == 0, 60)
    vm.check("rc-service modaliasd stop 2>&1")
    assert daemon(vm) == ""
    assert "status: stopped" in vm.sh("rc-service modaliasd status 2>&1").output


def test_s6(vm: VM) -> None:
    """s6 hears that it is ready, and that it ended with 0."""
    vm.sh("rc-service modaliasd stop")
    vm.check("rm -rf /run/s6 && mkdir /run/s6 && cp -a /etc/s6/modaliasd /run/s6/")
    vm.check("s6-svscan /run/s6 >/dev/null 2>&1 </dev/null &")
    assert eventually(lambda: vm.sh("s6-svok /run/s6/modaliasd").status == 0, 20)
    vm.check("s6-svwait -U -t 30000 /run/s6/modaliasd", timeout=60)
    assert daemon(vm)
    vm.check("modaliasd settle --timeout 20", timeout=60)
    vm.check("s6-svc -wD -T 20000 -d /run/s6/modaliasd", timeout=60)
    assert daemon(vm) == ""
    assert "exitcode 0" in vm.check("s6-svstat /run/s6/modaliasd")
