"""Every command of the guest, run by each interpreter that an image may have: what it imports has to be there."""

import contextlib
from pathlib import Path

import pytest

from hostbuild.apt import Spec
from hostbuild.errors import GuestError, WorldError
from hostbuild.image.build import ImageOptions, build_image
from hostbuild.image.sources import cpython
from hostbuild.image.sources.extras import Extra
from hostbuild.kernels.kernel import Kernel
from hostbuild.qemu.machine import read_machine
from hostbuild.qemu.vm import VM
from modaliasd.cli import COMMANDS
from tests.support.boots import vm_of

pytestmark = [pytest.mark.vm, pytest.mark.net]

# Command -> the statuses that it may end with here. Those that stop the guest or its loading come last.
CALLS = {
    "settle --timeout 60": {0},
    "wait driver:virtio_blk --timeout 60": {0},
    "status": {0},
    "status --json": {0},
    "load loop": {0},
    "coldplug": {0},
    "coldplug --dry-run": {0},
    "tree": {0},
    "why virtio_blk": {0},
    "why /dev/vda": {0},
    "why-not e1000": {0, 1},
    "ledger": {0},
    "audit": {0, 1},
    "check-config": {0, 1},
    "match pci:v00008086d0000100Esv00001AF4sd00001100bc02sc00i00": {0, 1},
    "may-load loop": {0, 1},
    "root": {0, 1, 100},
    "no-such-command": {100},
    "settled-script 3 /etc/settled.d/x": {0},
    "freeze": {0},
}


def test_every_command_is_called() -> None:
    """A new command is tried here, too; `run` is the daemon, and `poweroff` ends the guest."""
    named = {name for _, rows in COMMANDS for name, *_ in rows}
    assert {call.split()[0] for call in CALLS} - {"no-such-command"} == named - {"run", "poweroff"}


def run_every_command(vm: VM, without: frozenset[str] = frozenset()) -> None:
    """Run them all, each with --help, too. without: those whose extra the image has not, which say so (111)."""
    for call, usual in CALLS.items():
        statuses = {111} if call in without else usual
        name = call.split()[0]
        if name != "no-such-command":
            asked = vm.run(["modaliasd", name, "--help"])
            assert (asked.status, asked.stderr) == (0, b""), name
        done = vm.run(["modaliasd", *call.split()])
        said = (done.stdout + done.stderr).decode()
        assert done.status in statuses, f"{call}: {done.status}: {said}"
        assert "unexpected" not in said, call
        assert "ModuleNotFoundError" not in said, call
    if "micronetd" not in without:
        assert vm.run(["micronetd", "--help"]).status in {0, 100}


def power_off(vm: VM) -> None:
    """End the guest by its own command, whose status is the guest's."""
    with contextlib.suppress(GuestError):  # it ends with the guest
        vm.run(["modaliasd", "poweroff", "7"])
    assert vm.wait(timeout=60) == 7


@pytest.mark.parametrize("release", ["", "trixie", "sid"], ids=["this machine's", "trixie", "sid"])
def test_every_command_runs(release: str, debian_kernel: Kernel, tmp_path: Path) -> None:
    """None ends in a traceback, or for want of a module of Python's library; each has its --help."""
    assert debian_kernel
    try:
        cpython.require_interpreter(Spec("python3", release=release))
    except WorldError as e:
        pytest.skip(f"the release is out of reach: {e}")
    options = ImageOptions(
        "deb:linux-image-amd64",
        modules="virtio,loop",
        interpreter=Spec("python3"),
        release=release,
        extras=(Extra.AUDIT, Extra.NETWORK, Extra.ROOT),
    )
    image = build_image(tmp_path / "image.img", options)
    with vm_of(image, read_machine("virtio"), append="quiet", limit_s=300) as vm:
        vm.settled(timeout=200)
        run_every_command(vm)
        power_off(vm)
