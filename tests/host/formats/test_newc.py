"""The newc writer and reader, against cpio, bsdtar and one another."""

import io
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostbuild.formats.initramfs import newc
from hostbuild.formats.initramfs.newc import Member, NewcError, Writer
from hostbuild.formats.initramfs.pieces import Pieces
from tests.support.fuzzing import examples


def archive(members: list[tuple[Member, bytes]]) -> bytes:
    out = io.BytesIO()
    writer = Writer(out.write)
    for member, data in members:
        writer.add(member, data)
    writer.close()
    assert writer.written == len(out.getvalue())
    return out.getvalue()


SAMPLE = [
    (Member("dir", stat.S_IFDIR | 0o750, ino=1, nlink=2), b""),
    (Member("dir/console", stat.S_IFCHR | 0o600, ino=2, device=(5, 1)), b""),
    (Member("dir/link", stat.S_IFLNK | 0o777, ino=3), b"../one"),
    (Member("empty", stat.S_IFREG | 0o644, ino=4), b""),
    (Member("one", stat.S_IFREG | 0o755, ino=5, nlink=2), b""),
    (Member("two", stat.S_IFREG | 0o755, ino=5, nlink=2), b"hard linked\n"),
    (Member("zwölf", stat.S_IFREG | 0o4711, ino=6), bytes(range(256))),
]


def test_cpio_lists_what_was_written() -> None:
    """GNU cpio finds every name, in the order of writing, and no complaint."""
    done = subprocess.run(
        ["cpio", "--quiet", "-t"], input=archive(SAMPLE), capture_output=True, check=True, timeout=10
    )
    assert done.stdout.decode().splitlines() == [member.name for member, _ in SAMPLE]
    assert done.stderr == b""


def test_bsdtar_reads_types_modes_and_targets() -> None:
    """libarchive sees the same types, permissions, device numbers and link targets."""
    done = subprocess.run(
        ["bsdtar", "-tvf", "-"], input=archive(SAMPLE), capture_output=True, check=True, timeout=10
    )
    rows = {line.split(maxsplit=8)[8]: line.split() for line in done.stdout.decode().splitlines()}
    assert rows["dir"][0] == "drwxr-x---"
    assert rows["dir/console"][0] == "crw-------"
    assert rows["dir/console"][4] == "5,1"
    assert rows["dir/link -> ../one"][0].startswith("l")
    assert rows["zwölf"][0] == "-rws--x--x"


def test_cpio_unpacks_contents_and_hard_links(tmp_path: Path) -> None:
    """Unpacked by cpio, the files hold their bytes, and the two names of a hard link are one file."""
    members = [pair for pair in SAMPLE if not stat.S_ISCHR(pair[0].mode)]
    subprocess.run(
        ["cpio", "--quiet", "-i"],
        input=archive(members),
        capture_output=True,
        check=True,
        timeout=10,
        cwd=tmp_path,
    )
    assert (tmp_path / "one").samefile(tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == b"hard linked\n"
    assert (tmp_path / "zwölf").read_bytes() == bytes(range(256))
    assert (tmp_path / "dir" / "link").readlink() == Path("../one")


def test_archive_of_cpio_is_read(tmp_path: Path) -> None:
    """What cpio writes from real files is read back with names, sizes, modes and contents."""
    (tmp_path / "a").write_bytes(b"12345")
    (tmp_path / "b").symlink_to("a")
    done = subprocess.run(
        ["cpio", "--quiet", "-o", "-H", "newc"],
        input=b"a\nb\n",
        capture_output=True,
        check=True,
        timeout=10,
        cwd=tmp_path,
    )
    found = {member.name: (stat.S_IFMT(member.mode), data) for member, data in read_all(done.stdout)}
    assert found == {"a": (stat.S_IFREG, b"12345"), "b": (stat.S_IFLNK, b"a")}


def read_all(data: bytes, piece: int = 1000) -> list[tuple[Member, bytes]]:
    """Read an archive that comes in pieces; a link's target counts as its data."""
    found = []
    source = Pieces(data[at : at + piece] for at in range(0, len(data), piece))
    for member, body in newc.members(source, packed=True):
        content = b"".join(body)
        if not member.is_trailer:
            found.append((member, content or member.target.encode("utf-8", "surrogateescape")))
    return found


names = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=40
).filter(lambda name: name != newc.TRAILER)
numbers = st.integers(0, 0xFFFFFFFF)
members = st.builds(
    Member,
    name=names,
    mode=st.integers(0, 0xFFFF),
    ino=numbers,
    nlink=numbers,
    uid=numbers,
    gid=numbers,
    mtime=numbers,
    device=st.tuples(numbers, numbers),
    dev=st.tuples(numbers, numbers),
)


@settings(max_examples=examples(50), deadline=None)
@given(st.lists(st.tuples(members, st.binary(max_size=50)), max_size=5))
def test_what_is_written_is_read(pairs: list[tuple[Member, bytes]]) -> None:
    """Every field and every byte of data comes back; offsets are multiples of 4. A link's target ends at a NUL."""
    found = read_all(archive(pairs))
    assert [data for _, data in found] == [
        data.partition(b"\0")[0] if stat.S_ISLNK(member.mode) else data for member, data in pairs
    ]
    for (got, data), (want, _) in zip(found, pairs, strict=True):
        assert got.offset % 4 == 0
        assert (got.name, got.size, got.mode, got.ino, got.nlink) == (
            want.name,
            len(data),
            want.mode,
            want.ino,
            want.nlink,
        )
        assert (got.uid, got.gid, got.mtime) == (want.uid, want.gid, want.mtime)
        assert (got.device, got.dev) == (want.device, want.dev)


@given(st.binary(max_size=300))
def test_noise_is_refused(data: bytes) -> None:
    """Arbitrary bytes end in NewcError or in an archive, never in another exception."""
    try:
        found = read_all(data)
    except NewcError:
        return
    assert data.lstrip(b"\0")[:1] != b"0" or found
    assert all(member.offset < len(data) for member, _ in found)


@given(st.integers(0, len(archive(SAMPLE)) - 5), st.integers(0, 255))
def test_damage_never_crashes(position: int, byte: int) -> None:
    """One changed byte gives NewcError or another list of members, never another exception."""
    data = bytearray(archive(SAMPLE))
    data[position] = byte
    try:
        found = read_all(bytes(data))
    except NewcError:
        return
    assert len(found) <= len(SAMPLE) + 1  # without the trailer's name, that is one more


STARTS = [member.offset for member, _ in read_all(archive(SAMPLE))]
LAST = archive(SAMPLE).rindex(b"070701")  # where the trailer stands


@given(st.integers(1, len(archive(SAMPLE)) - 5).filter(lambda length: length not in [*STARTS, LAST]))
def test_a_cut_archive_is_refused(length: int) -> None:
    """An archive that ends inside a member is refused, with the offset. Between two it ends well, as for the kernel."""
    with pytest.raises(NewcError, match="cut short at offset"):
        read_all(archive(SAMPLE)[:length])


def test_pieces_do_not_matter() -> None:
    """However small the pieces are in which an archive comes, the same is read."""
    whole = read_all(archive(SAMPLE), 1 << 20)
    assert all(read_all(archive(SAMPLE), piece) == whole for piece in (1, 2, 3, 5, 109, 111))


@pytest.mark.parametrize("digits", [b"+0000001", b"0000 001", b"0x000001", b"0000_001"])
def test_only_hexadecimal_digits_are_numbers(digits: bytes) -> None:
    """Signs, blanks and underscores, which int() would take, are not taken."""
    data = archive(SAMPLE)
    with pytest.raises(NewcError, match="other than digits"):
        read_all(data[:6] + digits + data[14:])


def test_a_name_too_long_for_the_kernel_is_refused() -> None:
    """The kernel skips names of PATH_MAX and more in silence; the writer refuses them."""
    with pytest.raises(NewcError, match="longer than"):
        archive([(Member("x" * 4096, stat.S_IFREG), b"")])
