"""hostbuild.qemu.outside: memory that is shared with a program outside QEMU; QEMU itself is the oracle."""

import json
import subprocess

import pytest

from hostbuild.qemu.machine import Machine, machine_argv, parse_machine, read_machine
from hostbuild.qemu.outside import why_not_shared, with_shared_memory


@pytest.mark.parametrize("name", ["virtio", "numa", "cxl", "i440fx"])
def test_all_memory_is_shared(name: str) -> None:
    """QEMU says of each piece of the machine's memory that it is shared, also of NUMA nodes and of dimms."""
    machine = read_machine(name)
    size = machine.memory or 256
    assert why_not_shared(machine) == ""
    shared = with_shared_memory(machine, size)
    argv = machine_argv(shared, accel="tcg", memory=size, kernel="", initrd="", append="")
    said = [{"execute": one} for one in ("qmp_capabilities", "query-memdev", "quit")]
    done = subprocess.run(
        [*argv[: argv.index("-kernel")], "-S", "-qmp", "stdio"],
        input="".join(map(json.dumps, said)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    [backends] = [one["return"] for one in answers if isinstance(one.get("return"), list)]
    assert backends, done.stderr
    assert all(one["share"] for one in backends)
    assert sum(one["size"] for one in backends) >= size << 20


def test_memory_that_cannot_be_shared() -> None:
    """A backend that is no plain memory stays as it is, so it has to be shared already; else it is named."""
    own = 'objects = ["memory-backend-file,id=f,size=64M,mem-path=/dev/shm{}"]'
    assert "is not shared: memory-backend-file" in why_not_shared(parse_machine(own.format(""), "m"))
    assert why_not_shared(parse_machine(own.format(",share=on"), "m")) == ""
    assert "memory-backend=x of its own" in why_not_shared(Machine(options=("memory-backend=x",)))
