"""What an image unpacks to, against the kernel's own rules: random archives with all the liberties that it leaves."""

import bz2
import json
import lzma
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostbuild.formats.compress import Compressor, Packing, sink
from hostbuild.formats.initramfs.archive import Image, open_image
from hostbuild.formats.initramfs.newc import TRAILER, Member
from tests.support import unpacker
from tests.support.fuzzing import examples
from tests.support.privileges import unshared

Pair = tuple[Member, bytes]
DIRECTORY, FILE, LINK, FIFO, SOCKET = (
    stat.S_IFDIR | 0o755,
    stat.S_IFREG | 0o644,
    stat.S_IFLNK | 0o777,
    stat.S_IFIFO | 0o600,
    stat.S_IFSOCK | 0o700,
)
UNKNOWN = 0o050644  # a type that no inode has


def written(member: Member, data: bytes, padding: int = 0, *, checksum: bool = False) -> bytes:
    """A member as bytes: NULs behind its name, and a checksum if it is asked for."""
    name = member.name.encode("utf-8", "surrogateescape") + bytes(1 + padding)
    numbers = [
        member.ino,
        member.mode,
        0,
        0,
        member.nlink,
        0,
        len(data),
        *member.dev,
        *member.device,
        len(name),
    ]
    magic, total = (b"070702", sum(data)) if checksum else (b"070701", 0)
    out = magic + b"".join(b"%08x" % number for number in (*numbers, total)) + name
    out += bytes(-len(out) % 4) + data
    return out + bytes(-len(out) % 4)


END = written(Member(TRAILER, 0), b"")


def packed(compressor: Compressor, data: bytes) -> bytes:
    if compressor is Compressor.BZIP2:
        return bz2.compress(data)
    if compressor is Compressor.LZMA:
        return lzma.compress(data, lzma.FORMAT_ALONE)
    packer = sink(Packing(compressor), 1 << 20)
    return packer.compress(data) + packer.flush()


@pytest.fixture(scope="module")
def oracle() -> Iterator[Callable[[Sequence[Pair]], dict[str, tuple[int, bytes, int]]]]:
    """Asks the running kernel: path -> mode, contents or target, inode."""
    argv = unshared(sys.executable, "-I", unpacker.__file__)
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        ask, answer = process.stdin, process.stdout

        def unpack(pairs: Sequence[Pair]) -> dict[str, tuple[int, bytes, int]]:
            rows = [
                {
                    "name": member.name.encode("utf-8", "surrogateescape").hex(),
                    "mode": member.mode,
                    "ino": member.ino,
                    "nlink": member.nlink,
                    "dev": member.dev,
                    "data": data.hex(),
                }
                for member, data in pairs
            ]
            ask.write(json.dumps(rows) + "\n")
            ask.flush()
            return {
                bytes.fromhex(row["path"]).decode("utf-8", "surrogateescape"): (
                    row["mode"],
                    bytes.fromhex(row["data"]),
                    row["inode"],
                )
                for row in json.loads(answer.readline())
            }

        yield unpack
        ask.close()


def found_in(image: Image) -> dict[str, tuple[int, bytes, int]]:
    """The same of what was read of an image."""
    nodes = dict(image.root.walk())
    contents = image.read(path for path, node in nodes.items() if stat.S_ISREG(node.mode))
    return {
        path: (
            node.mode,
            contents.get(path, node.target.encode("utf-8", "surrogateescape")),
            id(node),
        )
        for path, node in nodes.items()
    }


def compared(
    tree: dict[str, tuple[int, bytes, int]],
) -> tuple[dict[str, tuple[int, bytes]], set[frozenset[str]]]:
    """What has to be equal: types, modes, contents, and which names are one inode. What is there anyway is left out."""
    tree = {path: row for path, row in tree.items() if path not in ("dev", "dev/console", "root")}
    groups: dict[int, set[str]] = {}
    for path, (_, _, inode) in tree.items():
        groups.setdefault(inode, set()).add(path)
    return {path: row[:2] for path, row in tree.items()}, {frozenset(group) for group in groups.values()}


parts = st.sampled_from(["a", "b", "c", "dev", ".", "..", "", "é", "\udcff", "n" * 255, "n" * 256])
plain = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3).map("/".join)
paths = st.one_of(
    plain, plain, plain, st.lists(parts, max_size=4).map("/".join), st.sampled_from(["", "/", TRAILER])
)
small = st.integers(1, 2)


@st.composite
def pairs(draw: st.DrawFn) -> Pair:
    mode = draw(st.sampled_from([DIRECTORY, DIRECTORY, FILE, FILE, FILE, LINK, LINK, FIFO, SOCKET, UNKNOWN]))
    mode ^= draw(st.sampled_from([0, 0, 0o11]))
    data = draw(st.sampled_from([b"", b"", b"1", b"12", b"12345" * 9]))
    if stat.S_ISLNK(mode):
        data = draw(paths.filter(bool)).encode("utf-8", "surrogateescape")
    if stat.S_ISDIR(mode) and draw(st.booleans()):
        data = b""
    nlink, ino, dev = draw(small), draw(small), (0, draw(st.integers(0, 1)))
    return Member(draw(paths), mode, nlink=nlink, ino=ino, dev=dev), data


@st.composite
def images(draw: st.DrawFn) -> tuple[bytes, list[Pair]]:
    """An image of several segments, and the members in the order in which they stand there."""
    image, all_pairs = b"", []
    for _ in range(draw(st.integers(1, 3))):
        members = draw(st.lists(pairs(), max_size=8))
        inside = bytes(draw(st.sampled_from([0, 4, 512]))) if image.strip(b"\0") else b""
        for member, data in members:
            padding = draw(st.sampled_from([0, 0, 1, 3, 40]))
            checksum = draw(st.booleans())
            inside += written(member, data, padding, checksum=checksum)
        all_pairs += members
        if draw(st.booleans()):
            inside += END
            all_pairs.append((Member(TRAILER, 0), b""))
        compressor = draw(st.sampled_from([Compressor.NONE, *COMPRESSORS]))
        if compressor is Compressor.NONE:
            image += bytes(-len(image) % 4) + inside + bytes(draw(st.sampled_from([0, 4, 512])))
        elif inside.strip(b"\0"):
            image += packed(compressor, inside)
            image += bytes(4) if compressor is Compressor.LZ4 else b""
            image += bytes(draw(st.sampled_from([0, 0, 1, 2, 3, 4, 600])))
    return image, all_pairs


COMPRESSORS = [Compressor(name) for name in ("gzip", "xz", "zstd", "lz4", "bzip2", "lzma")]


@settings(max_examples=examples(300), deadline=None)
@given(drawn=images())
@pytest.mark.slow
def test_an_image_is_read_as_the_kernel_unpacks_it(
    oracle: Callable[[Sequence[Pair]], dict[str, tuple[int, bytes, int]]],
    tmp_path_factory: pytest.TempPathFactory,
    drawn: tuple[bytes, list[Pair]],
) -> None:
    """Names, types, modes, contents and hard links are those that the kernel's own system calls make."""
    data, members = drawn
    path = tmp_path_factory.getbasetemp() / "image"
    path.write_bytes(data)
    image = open_image(path)
    assert image.trouble is None
    assert compared(found_in(image)) == compared(oracle(members))
