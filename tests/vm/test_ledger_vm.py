"""The ledger in a guest: one writer, a file that somebody deletes, a life that is longer than its limit."""

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from hostbuild.image.build import ImageOptions, build_image
from hostbuild.qemu.boot import Boot
from hostbuild.qemu.machine import read_machine
from hostbuild.qemu.vm import VM
from tests.support.schema import check_records

pytestmark = pytest.mark.vm

LEDGER = "/run/modaliasd/ledger.jsonl"
LIMIT = 128 << 10
CHANGES = 4000


@pytest.fixture(scope="module")
def vm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VM]:
    """A small machine, settled, its ledger limited."""
    built = build_image(
        tmp_path_factory.mktemp("ledger") / "ledger.img",
        ImageOptions(kernel="deb:linux-image-amd64", modules="qemu"),
    )
    append = "modaliasd.ledger=128K loglevel=4"
    boot = Boot(built.kernel.vmlinuz, built.image, append=append, memory=512, limit_s=600)
    with VM(read_machine("virtio"), boot) as running:
        running.settled(timeout=240)
        yield running


def records(vm: VM) -> list[dict[str, Any]]:
    """The guest's own ledger."""
    return [json.loads(line) for line in vm.check(f"cat {LEDGER}", timeout=60).splitlines()]


def pid(vm: VM) -> str:
    return vm.check("pidof modaliasd").strip()


def test_a_second_daemon_touches_nothing(vm: VM) -> None:
    """It names the first and ends with 111; the first goes on, and so do its socket and its ledger."""
    look = f"ls -i {LEDGER} /run/modaliasd/control /run/modaliasd/lives; grep -c '\"start\"' {LEDGER}"
    before = vm.check(look)
    said = vm.check("modaliasd run 2>&1; echo $?", timeout=60)
    assert said.split() == f"modaliasd: {_HELD}: process {pid(vm)} 111".split()
    assert vm.check(look) == before
    vm.check("modaliasd settle --timeout 30", timeout=60)


_HELD = "another modaliasd loads modules and writes the ledger"


def test_coldplug_once_has_the_daemon_walk(vm: VM) -> None:
    """Beside a daemon there is one more walk, and no second life in the ledger."""
    vm.check("modaliasd coldplug --once", timeout=60)
    found = records(vm)
    assert [r["type"] for r in found].count("start") == 1
    assert [r["reason"] for r in found if r["type"] == "walk"] == ["coldplug", "request"]


def test_a_long_life_stays_within_its_limit(vm: VM) -> None:
    """Thousands of events: the boot and the latest stay, a line says what went, and the daemon needs no more memory."""
    resident = "awk '/^VmRSS/ {print $2}' /proc/$(pidof modaliasd)/status"
    storm = f"i=0; while [ $i -lt {CHANGES} ]; do echo change >/sys/devices/virtual/mem/null/uevent; i=$((i + 1)); done"
    sizes: list[
        int
    ] = []  # KiB after each storm: what leaks leaks each time, what is done seldom, as a trim, does not
    while len(sizes) < 5 and not any(after - before < 256 for before, after in pairwise(sizes[1:])):
        vm.check(f"{storm}; modaliasd settle", timeout=240)
        sizes.append(int(vm.check(resident)))
    assert any(after - before < 256 for before, after in pairwise(sizes[1:])), sizes
    found = records(vm)
    check_records(found)
    assert int(vm.check(f"wc -c <{LEDGER}")) <= LIMIT + (16 << 10)
    [trimmed] = [r for r in found if r["type"] == "trimmed"]
    assert trimmed["types"]["device"] > CHANGES
    assert found[0]["type"] == "start"
    assert "virtio_blk" in vm.check("modaliasd why virtio_blk 2>/dev/null", timeout=60)
    assert "went when the ledger was full" in vm.check("modaliasd why nothing 2>&1; true", timeout=60)


def test_a_deleted_ledger_is_begun_again(vm: VM) -> None:
    """The next line makes the file, and the warning says what happened to the one before."""
    vm.check(f"rm {LEDGER}; modaliasd coldplug", timeout=60)
    vm.check(f"until grep -q 'was deleted' {LEDGER}; do usleep 50000; done", timeout=60)
    found = records(vm)
    assert "was deleted" in next(r["message"] for r in found if r["type"] == "warning")
    assert found[0]["type"] == "walk"
    assert "skipped" not in vm.check("modaliasd tree 2>&1 >/dev/null", timeout=60)
