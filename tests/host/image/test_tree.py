"""hostbuild.image.modules.tree: the indexes that an image gets."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from hostbuild.image.modules.selection import close, parse_index, read_index, select
from hostbuild.image.modules.tree import crypto_words, usual_first
from hostbuild.kernels.kernel import Kernel
from tests.support.privileges import unshared
from tests.support.programs import require_program

TABLES = ("modules.dep", "modules.softdep", "modules.alias", "modules.builtin")


def test_what_is_usual_stands_first(debian_kernel: Kernel) -> None:
    """Of all of Debian's modules what the default selection and CPUs ask for, with what that brings, stands first."""
    assert debian_kernel.indexes is not None
    indexes = {name: (debian_kernel.indexes / name).read_bytes() for name in TABLES[:3]} | {
        "modules.builtin": b""
    }
    ordered = usual_first(indexes)
    before, after = (text.splitlines() for text in (indexes["modules.dep"], ordered))
    assert sorted(before) == sorted(after)
    index = read_index(debian_kernel)
    lines = indexes["modules.alias"].decode().splitlines()
    asked_by_cpus = {line.split()[2] for line in lines if line.startswith("alias cpu:")}
    assert {"kvm_amd", "sha256_ssse3"} <= asked_by_cpus
    usual = close([*select("qemu", index), *asked_by_cpus], index)
    assert 100 < len(usual) < len(after) // 10
    assert set(parse_index({"modules.dep": b"\n".join(after[: len(usual)])}).paths) == set(usual)
    rest = set(after[len(usual) :])
    assert after[len(usual) :] == [line for line in before if line in rest]


def test_nothing_moves_where_all_is_usual() -> None:
    """A modules.dep of usual modules stays as depmod wrote it; so does an empty one."""
    dep = b"kernel/b/virtio_blk.ko:\nkernel/a/e1000.ko.xz:\n"
    assert usual_first({"modules.dep": dep, **dict.fromkeys(TABLES[1:], b"")}) == dep
    assert usual_first(dict.fromkeys(TABLES, b"")) == b""


@pytest.mark.slow
def test_words_of_the_crypto_layer(debian_kernel: Kernel, tmp_path: Path) -> None:
    """Those are listed for which kmod's modprobe finds a module, with `-` or `_`, and no others."""
    assert debian_kernel.indexes is not None
    (tmp_path / "lib/modules").mkdir(parents=True)
    (tmp_path / "lib/modules" / debian_kernel.version).symlink_to(debian_kernel.indexes)

    modprobe = require_program("modprobe")

    def is_found(word: str) -> bool:
        tree = ["-d", str(tmp_path), "-S", debian_kernel.version, "-C", str(tmp_path)]
        return subprocess.run([modprobe, *tree, "-R", word], capture_output=True, check=False).returncode == 0

    indexes = {name: (debian_kernel.indexes / name).read_bytes() for name in TABLES[:3]}
    said = subprocess.run(
        ["sh", "-c", crypto_words(indexes) + b"echo $crypto"], capture_output=True, check=True
    )
    pairs = [pair.split("=") for pair in said.stdout.decode().split()]
    listed = [word for word, _ in pairs]
    assert len(listed) > 100
    assert [word for word in listed if not is_found(word.replace("_", "-"))] == []
    assert {module for word, module in pairs if word == "crypto_crc32c"} >= {"crc32c_intel", "crc32c_generic"}
    asked = [
        "crypto-cryptd(__ecb-aes-aesni)",
        "crypto-nothing-all",
        "crypto-ghash-clmulni",
        "crypto-crc32c",
        "crypto-engine",
        "crypto-simd",
    ]
    assert [word.replace("-", "_") in listed for word in asked] == [is_found(word) for word in asked]
    assert [is_found(word) for word in asked] == [False, False, False, True, True, True]
    assert "cryptomgr" not in listed  # it is part of the kernel


@pytest.mark.parametrize("pattern", ["*", "cr*", "crypto-a[bc]", "crypto-?", "crypto-'"])
def test_no_list_where_a_pattern_may_match(pattern: str) -> None:
    """An alias with wildcards that fits such words makes the list worthless: there is none; nor with quotes in one."""
    alias = b"alias crypto-aes aes_generic\nalias pci:v1* e1000\n"
    assert (
        crypto_words({"modules.alias": alias, "modules.dep": b"a/crypto-simd.ko:\n"})
        == b"crypto=' crypto_aes=aes_generic crypto_simd=crypto_simd '\n"
    )
    worse = alias + f"alias {pattern} x\n".encode()
    assert crypto_words({"modules.alias": worse, "modules.dep": b""}) == b""


def test_busybox_reads_no_further_than_it_needs(tmp_path: Path) -> None:
    """Given a pipe as its modules.dep, busybox's modprobe ends while most of it has not been read."""
    release = os.uname().release
    folder = tmp_path / "lib/modules" / release
    folder.mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    command = unshared("-R", str(tmp_path), "/bin/busybox", "modprobe", "-D", "a")
    shutil.copy(require_program("busybox"), tmp_path / "bin/busybox")
    os.mkfifo(folder / "modules.dep")
    text = b"kernel/a.ko: kernel/b.ko\nkernel/b.ko:\n" + b"kernel/other.ko:\n" * 100_000

    # Opened for both, a FIFO never waits for its other end (fifo(7)); what stays in it nobody has read.
    pipe = os.open(folder / "modules.dep", os.O_RDWR | os.O_NONBLOCK)
    fed = 0
    end = time.monotonic() + 20
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        while process.poll() is None and fed < len(text) and time.monotonic() < end:
            try:
                fed += os.write(pipe, text[fed : fed + 4096])
            except BlockingIOError:
                time.sleep(0.01)
        said = process.communicate(timeout=5)[0]
    finally:
        process.kill()
        process.wait()
        os.close(pipe)
    assert process.returncode == 0
    assert [line.rpartition("/")[2].strip() for line in said.splitlines()] == ["b.ko", "a.ko"]
    assert fed < len(text)
