"""What a real kernel makes of images with all the liberties, beside what is read of them here."""

import gzip
import hashlib
import lzma
import stat
from pathlib import Path

import pytest

from hostbuild.formats.initramfs.archive import Image, open_image
from hostbuild.formats.initramfs.newc import Member
from hostbuild.kernels.kernel import Kernel
from hostbuild.qemu.boot import Boot
from hostbuild.qemu.machine import read_machine
from hostbuild.qemu.transcript import unpacking_failure
from hostbuild.qemu.vm import VM
from tests.host.formats.test_unpacking import END, written
from tests.support.tinyguest import PROLOGUE, write_image

pytestmark = pytest.mark.vm

# name, type and permissions in hexadecimal, size, inode, device, then the contents' checksum or the link's target
LIST = """cd /q && find . -mindepth 1 | sort | while IFS= read -r path; do
    extra=-
    [ -L "$path" ] && extra=$(readlink "$path")
    [ -f "$path" ] && [ ! -L "$path" ] && extra=$(md5sum < "$path")
    echo "Q|${path#./}|$(stat -c '%f|%s|%i|%t,%T' "$path")|${extra%%  -}|"
done
echo listed
poweroff -f
"""
DIRECTORY, FILE, LINK = stat.S_IFDIR | 0o755, stat.S_IFREG | 0o644, stat.S_IFLNK | 0o777


def file(name: str, data: bytes = b"", *, ino: int = 1, nlink: int = 1, mode: int = FILE) -> bytes:
    return written(Member(f"q/{name}" if name else "q", mode, ino=ino, nlink=nlink), data)


def boot(kernel: Kernel, image: Path) -> str:
    """Boot until the guest switches itself off, and give the console."""
    with VM(read_machine("empty"), Boot(kernel.vmlinuz, image, memory=256, limit_s=90)) as vm:
        vm.wait()
        return vm.console


def guest(path: Path, more: bytes) -> Path:
    """A guest that lists /q, then these bytes."""
    write_image(path, PROLOGUE + LIST)
    with path.open("ab") as out:
        out.write(more)
    return path


def seen(console: str) -> dict[str, tuple[str, ...]]:
    """What the guest has listed: path -> type and mode, size, inode, device, contents."""
    rows = [line.split("|") for line in console.splitlines() if line.startswith("Q|")]
    return {row[1]: tuple(row[2:7]) for row in rows}


def read(image: Image) -> dict[str, tuple[str, ...]]:
    """The same of what was read."""
    nodes = {path.removeprefix("q/"): node for path, node in image.root.walk() if path.startswith("q/")}
    data = image.read(f"q/{path}" for path in nodes)
    found: dict[str, tuple[str, ...]] = {}
    for path, node in nodes.items():
        extra = "-"
        if stat.S_ISLNK(node.mode):
            extra = node.target
        elif stat.S_ISREG(node.mode):
            extra = hashlib.md5(data[f"q/{path}"], usedforsecurity=False).hexdigest()
        size = "0" if stat.S_ISDIR(node.mode) else str(node.size)
        found[path] = (f"{node.mode:x}", size, str(id(node)), "{:x},{:x}".format(*node.device), extra)
    return found


def compared(tree: dict[str, tuple[str, ...]]) -> tuple[dict[str, tuple[str, ...]], set[frozenset[str]]]:
    """Directories have a size of the file system's own; inodes count as which names share one."""
    groups: dict[str, set[str]] = {}
    for path, row in tree.items():
        groups.setdefault(row[2], set()).add(path)
    rows: dict[str, tuple[str, ...]] = {}
    for path, (mode, size, _, device, extra) in tree.items():
        rows[path] = (mode, "" if stat.S_ISDIR(int(mode, 16)) else size, device, extra)
    return rows, {frozenset(group) for group in groups.values()}


def test_a_real_kernel_makes_the_same_tree(debian_kernel: Kernel, tmp_path: Path) -> None:
    """Padded names, hard links, links, members replaced, glued and packed segments, a bootconfig."""
    first = [
        file("", mode=DIRECTORY),
        written(Member("q/padded", FILE), b"data", 3000),
        written(Member("q/checked", FILE), b"data", checksum=True),
        file("empty-first", ino=7, nlink=3),
        file("empty-second", ino=7, nlink=3),
        file("data-last", b"of three names", ino=7, nlink=3),
        file("no/directory", b"dropped"),
        file("was-file", b"1"),
        file("was-file", mode=DIRECTORY),
        file("was-full", mode=DIRECTORY),
        file("was-full/inside", b"2"),
        file("was-full", b"dropped, since it is not empty"),
        file("twice", b"first, and longer"),
        file("twice", b"last"),
        file("gone", b"1", ino=9, nlink=2),
        file("gone", b"2", ino=9, nlink=2),
        file("up", b"was-full", mode=LINK),
        file("up/through", b"a link on the way"),
        file("/../../up/./../out", b"stays inside"),
        file("ring", b"ring", mode=LINK),
        file("ring/x", b"dropped"),
        file("fifo", mode=stat.S_IFIFO | 0o600),
        file("socket", mode=stat.S_IFSOCK | 0o600),
        written(Member("q/null", stat.S_IFCHR | 0o666, device=(1, 3)), b""),
        written(Member("q/null", stat.S_IFCHR | 0o600, device=(1, 5)), b""),
        file("directory-with-data", b"dropped", mode=DIRECTORY),
        file("x" * 256, b"dropped"),
        file("long-target", b"t" * 5000, mode=LINK),
    ]
    glued = file("glued", b"no trailer before") + file("late", b"", ino=7, nlink=2) + END
    parts = [b"".join(first), glued, bytes(512), gzip.compress(file("gzip", b"1") + END), bytes(3)]
    parts += [lzma.compress(file("lzma", b"2") + bytes(4) + file("lzma2"), lzma.FORMAT_ALONE)]
    parts += [lzma.compress(file("late", b"3", ino=7, nlink=2) + END, check=lzma.CHECK_CRC32)]
    config = b'kernel.quiet = "no"\n\0' + bytes(3)
    frame = len(config).to_bytes(4, "little") + sum(config).to_bytes(4, "little") + b"#BOOTCONFIG\n"
    image = guest(tmp_path / "x.img", b"".join([*parts, config, frame]))
    console = boot(debian_kernel, image)
    assert "listed" in console
    assert unpacking_failure(console) is None
    assert len(seen(console)) >= 20
    ours = open_image(image).require_whole()
    assert compared(read(ours)) == compared(seen(console))


@pytest.mark.parametrize(
    "tail",
    [
        b"GARBAGE!",
        bytes(2) + END,
        b"070707" + bytes(200),
        lzma.compress(END, check=lzma.CHECK_CRC64),
        gzip.compress(END + b"junk"),
        gzip.compress(END[:-4] + b"0"),
    ],
    ids=["garbage", "padding", "odc", "xz-crc64", "junk-inside", "junk-at-the-end"],
)
def test_a_real_kernel_stops_where_we_do(debian_kernel: Kernel, tmp_path: Path, tail: bytes) -> None:
    """The kernel boots on with what it has, and its words are those that the reader predicts."""
    image = guest(tmp_path / "x.img", file("", mode=DIRECTORY) + END + tail)
    console = boot(debian_kernel, image)
    failure = unpacking_failure(console)
    assert failure is not None
    ours = open_image(image)
    assert ours.trouble is not None
    assert ours.trouble.said
    assert ours.trouble.said in failure.line
    assert "listed" in console
