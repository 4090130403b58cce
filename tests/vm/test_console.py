"""The guest's console on a serial line: the shell knows how large the terminal behind it is."""

import pytest

from hostbuild.image.build import BuiltImage
from hostbuild.qemu.boot import Boot
from hostbuild.qemu.lines import Line
from hostbuild.qemu.machine import read_machine
from hostbuild.qemu.vm import VM
from modaliasd.cli import COMMANDS
from tests.support.boots import vm_of
from tests.vm.test_vm import eventually

pytestmark = [pytest.mark.vm, pytest.mark.net]

QUESTION = b"\x1b[6n"


def test_stty_knows_the_terminals_size(image: BuiltImage) -> None:
    """A terminal that answers is asked once, before the shell starts; `resize` asks again after a change."""
    size = b"\x1b[40;132R"
    seen = bytearray()

    def answer(data: bytes) -> None:
        before = seen.count(QUESTION)
        seen.extend(data)
        for _ in range(seen.count(QUESTION) - before):
            vm.type(size)

    vm = VM(
        read_machine("empty"),
        Boot(image.kernel.vmlinuz, image.image, append="quiet", limit_s=240),
        listeners={Line.CONSOLE: answer},
    )
    with vm:
        vm.settled(timeout=200)
        assert eventually(lambda: b"micro:" in seen, 30)
        vm.type(b"stty size\n")
        assert eventually(lambda: "\n40 132" in vm.console.replace("\r", ""), 30), vm.console[-1000:]
        size = b"\x1b[24;80R"
        vm.type(b"resize; stty size\n")
        assert eventually(lambda: "\n24 80" in vm.console.replace("\r", ""), 30), vm.console[-1000:]


def test_a_console_that_nobody_looks_at(image: BuiltImage) -> None:
    """Where nobody answers the shell comes all the same; every command of the guest has its help there."""
    with vm_of(image, read_machine("empty"), append="quiet", limit_s=240) as vm:
        vm.settled(timeout=200)
        assert eventually(lambda: "micro:" in vm.console, 30)
        for command in (name for _group, commands in COMMANDS for name, *_ in commands):
            assert vm.check(f"modaliasd {command} --help").startswith(f"usage: modaliasd {command}")
        assert vm.check("resize --help").startswith("usage: resize")
        vm.type(b"stty size\n")
        assert eventually(lambda: "stty: standard input" in vm.console, 30), vm.console[-1000:]
