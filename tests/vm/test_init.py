"""/init and busybox init's table, in a guest: consoles, the words of the kernel's command line, and the way out."""

import pytest

from hostbuild.image.build import BuiltImage
from hostbuild.qemu.boot import Boot
from hostbuild.qemu.machine import read_machine
from hostbuild.qemu.vm import VM
from tests.vm.test_vm import eventually

pytestmark = pytest.mark.vm


def boot(image: BuiltImage, append: str) -> VM:
    """A small machine with these words."""
    return VM(read_machine("virtio"), Boot(image.kernel.vmlinuz, image.image, append=append, limit_s=240))


def test_a_shell_on_each_console(image: BuiltImage) -> None:
    """`console=` names a serial line, a screen and a line whose driver is missing: the first two have a shell each.

    Each is the leader of a session with that terminal, so it has job control; and none is started again and again.
    """
    with boot(image, "quiet console=hvc7 console=tty0 console=ttyS0") as vm:
        vm.settled(timeout=200)
        assert eventually(lambda: "micro:" in vm.console, 30)
        vm.type(b"tty; sleep 300 &\njobs\n")
        assert eventually(lambda: "/dev/ttyS0" in vm.console and "Running" in vm.console, 30), vm.console[
            -500:
        ]
        assert "job control turned off" not in vm.console
        shells = "ps -o tty,args | grep -E 'sh -l|[c]onsole' | sort"
        assert eventually(lambda: vm.check(shells).split("\n")[0].split()[0] == "4,1", 20)
        rows = [line.split(None, 1) for line in vm.check(shells).splitlines() if "grep" not in line]
        assert [(tty, args.split()[-1]) for tty, args in rows] == [
            ("4,1", "-l"),
            ("4,64", "-l"),
            ("?", "hvc7"),
        ]


def test_single_and_debug(image: BuiltImage) -> None:
    """`single` gives a shell with everything mounted before anything is loaded, then the boot; `debug` shows how."""
    with boot(image, "quiet single debug") as vm:
        assert eventually(lambda: "micro:" in vm.console, 100), vm.console[-1000:]
        assert "+ mount -t devtmpfs" in vm.console
        assert "init: single: nothing has been loaded yet" in vm.console
        vm.type(b"wc -l </proc/modules; mount | grep -c /run; ls /run/modaliasd\n")
        assert eventually(lambda: "No such file" in vm.console, 30)
        assert [record["type"] for record in vm.ledger] == []
        vm.type(b"exit\n")
        vm.settled(timeout=200)


@pytest.mark.parametrize(("command", "said"), [("poweroff", "Power down"), ("reboot", "Restarting system")])
def test_the_way_out(image: BuiltImage, command: str, said: str) -> None:
    """Typed at the console, each leaves the disks and ends the machine; a file system that was mounted is clean."""
    with boot(image, "quiet loglevel=6") as vm:
        vm.settled(timeout=200)
        assert eventually(lambda: "micro:" in vm.console, 30)
        vm.type(f"{command}\n".encode())
        assert eventually(lambda: not vm.running, 60), vm.console[-1000:]
        assert f"reboot: {said}" in vm.console
        assert "shutdown: cannot" not in vm.console


def test_another_first_process(image: BuiltImage) -> None:
    """With `rdinit=` the kernel starts that instead of /init, and `exec /init` goes on."""
    with boot(image, "quiet rdinit=/bin/sh") as vm:
        assert eventually(lambda: "# " in vm.console, 60), vm.console[-1000:]
        vm.type(b"exec /init\n")
        vm.settled(timeout=100)
