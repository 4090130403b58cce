"""Packages that somebody made to hurt: nothing of them is outside the cache, is followed out of it, or stays behind."""

import lzma
import os
import stat
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from hostbuild import debs
from hostbuild.errors import CommandError, WorldError
from hostbuild.fs.confine import confine
from tests.support.hostiledebs import Entry, ar, deb, tar
from tests.support.privileges import unshared
from tests.support.programs import require_program

PACKAGE = debs.Package("hello", "1", "all", "0" * 64, 1, ())
USR = Entry("./usr", tarfile.DIRTYPE, mode=0o755)
HELLO = Entry("./usr/hello", content=b"hello\n")
PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache's directory for packages, some levels down."""
    require_program("dpkg-deb")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a/b/cache"))
    return tmp_path / "a/b/cache/hostbuild/packages"


def unpack(data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Unpack a package, as if apt had fetched it."""
    file = tmp_path / "x.deb"
    file.write_bytes(data)
    monkeypatch.setattr(debs, "_fetch", lambda _package, _directory: file)
    return debs.require_unpacked(PACKAGE)


WHOLE = deb([USR, HELLO])
DATA = lzma.compress(tar([USR, HELLO, Entry("./usr/large", content=os.urandom(100_000))]))
DAMAGED = {
    "nothing": b"",
    "no archive": b"hello\n" * 100,
    "a header alone": WHOLE[:8],
    "cut in ar's header": WHOLE[:100],
    "cut in the control": WHOLE[:200],
    "cut in the data": deb(data=DATA[:-50_000]),
    "xz turned over": deb(data=DATA[:60_000] + bytes(100) + DATA[60_100:]),
    "xz of another kind": deb(data=b"\xfd7zXZ\0" + bytes(1000)),
    "no xz": deb(data=b"\x1f\x8b" + bytes(1000)),
    "a tar that is none": deb(data=lzma.compress(b"\xff" * 10_000)),
    "a member larger than the file": deb([USR, HELLO], sizes=["4", "9999999999"]),
    "a size below nothing": deb([USR, HELLO], sizes=["4", "-1"]),
    "a size of letters": deb([USR, HELLO], sizes=["4", "many"]),
    "no control": ar([("debian-binary", b"2.0\n"), ("data.tar.xz", DATA)]),
    "no data": WHOLE[: WHOLE.index(b"data.tar.xz")],
    "another format": ar([("debian-binary", b"9.0\n"), ("control.tar.xz", DATA), ("data.tar.xz", DATA)]),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_package_is_an_error_and_leaves_nothing(
    damage: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """dpkg-deb's words come through, with the package's file; the cache holds nothing of it."""
    with pytest.raises(CommandError, match="dpkg-deb"):
        unpack(DAMAGED[damage], tmp_path, monkeypatch)
    assert list(cache.iterdir()) == []


REFUSED = {
    "a device": ([USR, Entry("./usr/sda", tarfile.BLKTYPE, device=(8, 0), mode=0o666)], "a device, usr/sda"),
    "a terminal": (
        [USR, Entry("./usr/tty", tarfile.CHRTYPE, device=(5, 0), mode=0o666)],
        "a device, usr/tty",
    ),
    "a FIFO": ([USR, Entry("./usr/x.ko", tarfile.FIFOTYPE)], "a FIFO, usr/x.ko"),
    "a link upwards": ([Entry("./boot", tarfile.SYMTYPE, target="../../../etc")], "leads out of it, boot ->"),
    "links that add up": (
        [
            USR,
            Entry("./usr/top", tarfile.SYMTYPE, target="/"),
            Entry("./out", tarfile.SYMTYPE, target="usr/top/../.."),
        ],
        "leads out of it, out ->",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_no_package_may_hold_is_refused(
    kind: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Devices, FIFOs, links that lead out: it is said what and where, and the cache holds nothing of it."""
    entries, words = REFUSED[kind]
    with pytest.raises(WorldError) as caught:
        unpack(deb(entries), tmp_path, monkeypatch)
    if not (isinstance(caught.value, CommandError) and os.geteuid()):  # only root's tar makes devices
        assert words in str(caught.value)
        assert "the package hello 1" in str(caught.value)
    assert list(cache.iterdir()) == []


def test_absolute_links_stay_inside(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link to /etc/passwd is one to the package's own; hostbuild never reads this machine's file in its place."""
    entries = [
        USR,
        Entry("./boot", tarfile.DIRTYPE, mode=0o755),
        Entry("./boot/vmlinuz-1", tarfile.SYMTYPE, target="/etc/passwd"),
        Entry("./usr/way", tarfile.SYMTYPE, target="/usr"),
        Entry("./usr/top", tarfile.SYMTYPE, target="/"),
        HELLO,
    ]
    root = unpack(deb(entries), tmp_path, monkeypatch)
    assert not (root / "boot/vmlinuz-1").exists()
    assert os.readlink(root / "boot/vmlinuz-1") == "../etc/passwd"
    assert (root / "usr/way/hello").read_bytes() == b"hello\n"
    assert (root / "usr/top/usr/hello").read_bytes() == b"hello\n"
    assert debs.require_unpacked(PACKAGE) == root, "it is found again as it was sealed"
    assert list(cache.iterdir()) == [root.parent]


def test_modes_are_the_owners_to_read_and_no_more(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory that nobody may enter can be read and removed; a setuid program in the cache is none."""
    entries = [
        Entry("./", tarfile.DIRTYPE, mode=0),
        USR,
        Entry("./usr/su", content=b"x", mode=0o6755),
        Entry("./usr/secret", tarfile.DIRTYPE, mode=0),
        Entry("./usr/secret/f", content=b"x", mode=0),
    ]
    root = unpack(deb(entries), tmp_path, monkeypatch)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in root.rglob("*")}
    assert modes == {"usr": 0o755, "su": 0o755, "secret": 0o700, "f": 0o400}
    assert (root / "usr/secret/f").read_bytes() == b"x"
    assert cache.is_dir()


def test_a_name_made_for_terminals_is_told_without_its_controls(tmp_path: Path) -> None:
    """What is refused is named in the error, which main.py puts out as printable text."""
    (tmp_path / "root").mkdir()
    os.mkfifo(tmp_path / "root/a\x1b[2J\nb")
    with pytest.raises(WorldError, match="a FIFO"):
        confine(tmp_path / "root", "the package x 1")


SMALL_DISK = """
import os, subprocess, sys
from pathlib import Path
from hostbuild import debs
from hostbuild.errors import WorldError
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", sys.argv[1]], check=True)
os.environ["XDG_CACHE_HOME"] = sys.argv[1]
debs._fetch = lambda _package, _directory: Path(sys.argv[2])
try:
    debs.require_unpacked(debs.Package("hello", "1", "all", "0" * 64, 1, ()))
except WorldError as e:
    print(e)
    print(sorted(path.name for path in Path(sys.argv[1], "hostbuild/packages").iterdir()))
"""


@pytest.mark.slow
def test_a_package_that_unpacks_for_ever_ends_with_the_disk(tmp_path: Path) -> None:
    """64 MiB out of 10 KiB, on a disk of 8: the place and what to do about it are said, and the room is free again."""
    require_program("dpkg-deb")
    bomb, disk = tmp_path / "bomb.deb", tmp_path / "disk"
    disk.mkdir()
    bomb.write_bytes(deb([USR, Entry("./usr/zeros", content=bytes(64 << 20))]))
    assert bomb.stat().st_size < 20_000
    words = unshared("-m", sys.executable, "-c", SMALL_DISK, str(disk), str(bomb))
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, cwd=PROJECT)
    assert "no room is left in" in done.stdout, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_scratch_place_goes_whatever_was_unpacked_into_it(tmp_path: Path) -> None:
    """Directories without rights, as a package half unpacked may leave them, are removed as well, by a user too."""
    script = (
        "import os, sys\nfrom pathlib import Path\nfrom hostbuild.fs.scratch import scratch_directory\n"
        "with scratch_directory(Path(sys.argv[1])) as place:\n"
        "    (place / 'a/b').mkdir(parents=True)\n    (place / 'a/b/c').write_text('x')\n"
        "    os.chmod(place / 'a/b', 0)\n    os.chmod(place / 'a', 0)\n"
        "print(os.listdir(sys.argv[1]))\n"
    )
    words = [sys.executable, "-c", script, str(tmp_path)]
    if os.geteuid() == 0:
        require_program("setpriv")
        os.chmod(tmp_path, 0o777)
        words = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *words]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False, cwd=PROJECT)
    assert done.stdout == "[]\n", done.stderr
