"""descriptors.py and its users when the process has no descriptor left, which is really so here (RLIMIT_NOFILE)."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from modaliasd.linux import descriptors
from modaliasd.linux.process import reap, start
from modaliasd.linux.procmodules import read_live_modules
from modaliasd.linux.sysfs import Sysfs


@contextmanager
def exhausted() -> Iterator[None]:
    """All descriptors are taken, but one was put by before."""
    descriptors.keep_reserve()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = max(map(int, os.listdir("/proc/self/fd"))) + 8
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    taken: list[int] = []
    try:
        while True:
            try:
                taken.append(os.open("/dev/null", os.O_RDONLY))
            except OSError:
                break
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in taken:
            os.close(descriptor)
        assert descriptors.spend_reserve()
        descriptors._Reserve.descriptor = descriptors._UNWANTED


@pytest.fixture
def sysfs(tmp_path: Path) -> Sysfs:
    """A /sys with one device and one module."""
    device = tmp_path / "devices/pci0/0000:00:01.0"
    device.mkdir(parents=True)
    (device / "uevent").write_text("MODALIAS=pci:one\n")
    (tmp_path / "bus/pci/devices").mkdir(parents=True)
    (tmp_path / "bus/pci/devices/0000:00:01.0").symlink_to("../../../devices/pci0/0000:00:01.0")
    (tmp_path / "module/one").mkdir(parents=True)
    (tmp_path / "module/one/initstate").write_text("live\n")
    (tmp_path / "kernel").mkdir()
    (tmp_path / "kernel/uevent_seqnum").write_text("7\n")
    return Sysfs(str(tmp_path))


def test_sys_is_read_nevertheless(sysfs: Sysfs) -> None:
    """A walk finds every device, a live module is live, the last number is known; again and again."""
    with exhausted():
        with pytest.raises(OSError, match="Too many open files"):
            os.open("/dev/null", os.O_RDONLY)
        for _ in range(3):
            assert [device.modalias for stride in sysfs.walk() for device in stride] == ["pci:one"]
            assert sysfs.is_live("one")
            assert not sysfs.is_live("two")
            assert sysfs.uevent_seqnum() == 7


def test_the_list_of_modules_is_not_taken_for_empty(tmp_path: Path) -> None:
    """/proc/modules is read out of the reserve: an empty list would mean that all modules have been removed."""
    path = tmp_path / "modules"
    path.write_text("one 1 0 - Live 0x0\n")
    with exhausted():
        assert read_live_modules(str(path)) == ["one"]
        assert read_live_modules(str(path) + ".missing") == []
        assert read_live_modules(str(path)) == ["one"]


def test_no_child_begins_that_cannot_be_waited_for(tmp_path: Path) -> None:
    """With no descriptor, or with one, where two stay, a child is not started, and the error says why."""
    mark = tmp_path / "ran"
    attempt = partial(start, "/bin/sh", ["-c", f"touch {mark}"])
    with exhausted():
        with pytest.raises(OSError, match="Too many open files"):
            attempt()
        with pytest.raises(OSError, match="Too many open files"):
            descriptors.with_reserve(attempt)
    assert not mark.exists()


def test_a_child_with_descriptors_enough(tmp_path: Path) -> None:
    """The place that was kept for the pidfd is given back: nothing is left open after a child."""
    before = len(os.listdir("/proc/self/fd"))
    assert reap(start("/bin/sh", ["-c", f"touch {tmp_path / 'ran'}"])).status == 0
    assert (tmp_path / "ran").exists()
    assert len(os.listdir("/proc/self/fd")) == before


def test_without_a_reserve_the_error_is_told(tmp_path: Path) -> None:
    """What is not there is not there, with or without a reserve; nothing is kept that nobody asked for."""
    assert not descriptors.spend_reserve()
    with pytest.raises(FileNotFoundError):
        descriptors.open_file(str(tmp_path / "missing"))
    with pytest.raises(FileNotFoundError):
        descriptors.list_directory(str(tmp_path / "missing"))
    assert not descriptors.spend_reserve()
