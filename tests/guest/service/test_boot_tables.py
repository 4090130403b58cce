"""The tables of a module tree that tables.py opens: what changes while the daemon runs counts."""

import gzip
import lzma
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from hostbuild.kernels.kernel import Kernel
from modaliasd.core.kmod.modprobe_d import EMPTY
from modaliasd.core.kmod.modules_dep import Dependencies
from modaliasd.linux.indexfile import open_index
from modaliasd.linux.module_tables import find_hash_drivers, open_resolver
from tests.support.kernelfiles import plain_module


def test_a_module_installed_while_running_is_found_with_what_it_needs(tmp_path: Path) -> None:
    """When depmod has run anew, a miss is looked up again; modules.dep and modules.softdep are read again with it."""
    (tmp_path / "modules.alias").write_text("alias usb:v1* usb_storage\n")
    (tmp_path / "modules.dep").write_text("kernel/usb_storage.ko:\n")
    resolver = open_resolver(EMPTY, open_index(str(tmp_path)), str(tmp_path))
    assert resolver.resolve("hid:b0003").matches == ()
    (tmp_path / "modules.dep").write_text("kernel/hid.ko:\nkernel/usbhid.ko: kernel/hid.ko\nkernel/led.ko:\n")
    (tmp_path / "modules.softdep").write_text("softdep usbhid pre: led\n")
    (tmp_path / "modules.alias").write_text("alias hid:b* usbhid\n")
    plan = resolver.resolve("hid:b0003")
    assert [match.module for match in plan.matches] == ["usbhid"]
    assert [step.module for step in plan.steps] == ["hid", "led", "usbhid"]


def test_lines_that_are_none_are_noted(tmp_path: Path) -> None:
    """What modules.softdep and modules.builtin have that is no line of theirs is kept for the ledger."""
    (tmp_path / "modules.alias").write_text("alias usb:v1* usb_storage\n")
    (tmp_path / "modules.dep").write_text("kernel/usb_storage.ko:\n")
    (tmp_path / "modules.softdep").write_text("softdep\nsoftdep usb_storage pre: led\n")
    (tmp_path / "modules.builtin").write_text("kernel/a.ko\nkernel/\n")
    resolver = open_resolver(EMPTY, open_index(str(tmp_path)), str(tmp_path))
    places = [(problem.file, problem.line) for problem in resolver.dependencies.problems]
    assert places == [("modules.builtin", 2), ("modules.softdep", 1)]
    assert resolver.softdeps("usb_storage") == (("led",), ())


@pytest.mark.parametrize(
    ("damage", "line", "words"),
    [
        (lambda path: path.write_bytes(b"kernel/a.ko:\nkernel/b.ko: kern"), 2, "cut off"),
        (lambda path: path.write_bytes(bytes(range(256)) * 9), 10, "cut off"),
        (lambda path: path.mkdir(), 0, "cannot be read: Is a directory"),
        (lambda path: path.symlink_to(path), 0, "cannot be read: Too many levels"),
    ],
    ids=["cut off", "noise", "a directory", "a ring"],
)
def test_a_modules_dep_that_is_none_is_noted(
    damage: Callable[[Path], object], line: int, words: str, tmp_path: Path
) -> None:
    """It would be as if there were no modules, and nobody told why."""
    (tmp_path / "modules.alias").write_text("alias usb:v1* usb_storage\n")
    damage(tmp_path / "modules.dep")
    [problem] = open_resolver(EMPTY, open_index(str(tmp_path)), str(tmp_path)).dependencies.problems
    assert (problem.file, problem.line) == ("modules.dep", line)
    assert words in problem.message


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}


def tree_of_hashes(tmp_path: Path, module: bytes, ending: str = "") -> Dependencies:
    """A tree with this as its drivers of two hashes, packed as their ending says."""
    for name in (f"a/sha256-fast.ko{ending}", f"sha512-fast.ko{ending}"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(PACKERS[ending](module))
    (tmp_path / "modules.alias").write_text(
        "alias crypto-sha512 sha512_fast\nalias crypto-sha256 sha256_fast\nalias crypto-sha256 gone\nalias cpu:* loop\n"
    )
    return Dependencies(f"a/sha256-fast.ko{ending}:\nsha512-fast.ko{ending}:\ngone.ko:\n")


@pytest.mark.parametrize("ending", PACKERS)
@pytest.mark.parametrize("signed", [True, False])
def test_the_drivers_of_the_hash_that_modules_are_signed_with(
    signed: bool, ending: str, debian_kernel: Kernel, tmp_path: Path
) -> None:
    """Those with the alias of Debian's hash, SHA-256, where they are signed with it; none where they are not.

    Of compressed ones this interpreter can tell as far as it has their compressors.
    """
    module = plain_module(debian_kernel, "sha256-ssse3")
    dependencies = tree_of_hashes(tmp_path, module if signed else module[:-1], ending)
    drivers = find_hash_drivers(open_index(str(tmp_path)), dependencies, str(tmp_path))
    known = ending != ".zst" or sys.version_info >= (3, 14)
    assert drivers == (["sha256_fast"] if signed and known else [])


@pytest.mark.parametrize(
    ("told", "drivers"),
    [
        ("sha256\n", ["sha256_fast", "gone"]),
        ("sha512\n", ["sha512_fast"]),
        ("md5\n", []),
        ("stripped\n", []),
    ],
)
def test_an_image_tells_the_hash_of_its_modules(told: str, drivers: list[str], tmp_path: Path) -> None:
    """modules.hash spares the look at the modules, which may be compressed; what is no known hash is not believed."""
    dependencies = tree_of_hashes(tmp_path, b"not signed, or nobody can tell", ".zst")
    (tmp_path / "modules.hash").write_text(told)
    assert find_hash_drivers(open_index(str(tmp_path)), dependencies, str(tmp_path)) == drivers
