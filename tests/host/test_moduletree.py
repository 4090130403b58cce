"""hostbuild.image.moduletree: the indexes that an image gets."""

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hostbuild.image.modules import close, parse_index, read_index, select
from hostbuild.image.moduletree import usual_first
from hostbuild.kernel import Kernel

TABLES = ("modules.dep", "modules.softdep", "modules.alias", "modules.builtin")


def test_what_is_usual_stands_first(debian_kernel: Kernel) -> None:
    """Of all of Debian's modules the lines of the default selection, with what it brings, stand first, unchanged."""
    assert debian_kernel.indexes is not None
    indexes = {name: (debian_kernel.indexes / name).read_bytes() for name in TABLES[:3]} | {
        "modules.builtin": b""
    }
    ordered = usual_first(indexes)
    before, after = (text.splitlines() for text in (indexes["modules.dep"], ordered))
    assert sorted(before) == sorted(after)
    index = read_index(debian_kernel)
    usual = close(select("qemu", index), index)
    assert 100 < len(usual) < len(after) // 10
    assert set(parse_index(*(b"\n".join(after[: len(usual)]).decode(), "", "", "")).paths) == set(usual)
    rest = set(after[len(usual) :])
    assert after[len(usual) :] == [line for line in before if line in rest]


def test_nothing_moves_where_all_is_usual() -> None:
    """A modules.dep of usual modules stays as depmod wrote it; so does an empty one."""
    dep = b"kernel/b/virtio_blk.ko:\nkernel/a/e1000.ko.xz:\n"
    assert usual_first({"modules.dep": dep, **dict.fromkeys(TABLES[1:], b"")}) == dep
    assert usual_first(dict.fromkeys(TABLES, b"")) == b""


def test_busybox_reads_no_further_than_it_needs(tmp_path: Path) -> None:
    """Given a pipe as its modules.dep, busybox's modprobe ends while most of it has not been read."""
    release = os.uname().release
    folder = tmp_path / "lib/modules" / release
    folder.mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    busybox = shutil.which("busybox")
    assert busybox is not None, "busybox-static is in debian-packages.txt"
    shutil.copy(busybox, tmp_path / "bin/busybox")
    os.mkfifo(folder / "modules.dep")
    text = b"kernel/a.ko: kernel/b.ko\nkernel/b.ko:\n" + b"kernel/other.ko:\n" * 100_000

    def feed() -> int:
        with (folder / "modules.dep").open("wb", buffering=0) as pipe:
            try:
                return pipe.write(text)
            except BrokenPipeError:
                return -1

    with ThreadPoolExecutor() as executor:
        fed = executor.submit(feed)
        command = ["unshare", "-r", "-R", str(tmp_path), "/bin/busybox", "modprobe", "-D", "a"]
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout
        assert [line.rpartition("/")[2].strip() for line in said.splitlines()] == ["b.ko", "a.ko"]
        assert fed.result(timeout=20) < len(text)
