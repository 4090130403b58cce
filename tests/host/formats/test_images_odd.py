"""Images that people have: what is in front of, between and behind archives, formats of others, and hostile ones."""

import bz2
import gzip
import json
import lzma
import os
import resource
import shutil
import stat
import struct
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from hostbuild import main
from hostbuild.formats.compress import Compressor, Packing, sink
from hostbuild.formats.initramfs import archive, segments
from hostbuild.formats.initramfs.archive import ImageError, open_image, read_image
from hostbuild.formats.initramfs.newc import TRAILER, Member
from hostbuild.formats.initramfs.rootfs import Root
from hostbuild.formats.unpack import CompressionError, decompress
from hostbuild.predict.target import open_image as open_target
from tests.host.formats.test_unpacking import DIRECTORY, END, FILE, LINK, packed, written
from tests.support.commandline import hostbuild_argv
from tests.support.programs import require_program

INIT = written(Member("init", stat.S_IFREG | 0o755), b"#!/bin/sh\n")
ARCHIVE = INIT + END
CONFIG = b'kernel.console = "ttyS0"\n\0'


def image_of(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "x.img"
    path.write_bytes(data)
    return path


def with_bootconfig(image: bytes, *, wrong: int = 0, behind: bytes = b"") -> bytes:
    """As tools/bootconfig appends it."""
    body = CONFIG + bytes(-(len(image) + len(CONFIG) + 20) % 4)
    return image + body + struct.pack("<II", len(body), sum(body) + wrong) + b"#BOOTCONFIG\n" + behind


@pytest.mark.parametrize("compressor", [Compressor.NONE, Compressor.GZIP, Compressor.LZ4, Compressor.ZSTD])
@pytest.mark.parametrize("behind", [b"", bytes(3)], ids=["end", "aligned by grub"])
def test_a_bootconfig_is_taken_away(tmp_path: Path, compressor: Compressor, behind: bytes) -> None:
    """What the kernel cuts off before it unpacks is no trailing garbage, whatever it stands behind."""
    data = packed(compressor, ARCHIVE) if compressor is not Compressor.NONE else ARCHIVE
    image = open_image(image_of(tmp_path, with_bootconfig(data, behind=behind))).require_whole()
    assert image.bootconfig == len(with_bootconfig(data, behind=behind)) - len(data)
    assert [path for path, _ in image.root.walk()] == ["init"]


def test_the_last_padding_may_be_absent(tmp_path: Path) -> None:
    """A plain archive may end with its trailer's name, as some writers leave it; the kernel takes it."""
    assert open_image(image_of(tmp_path, INIT + END.rstrip(b"\0") + b"\0")).require_whole().untrailed == []


def test_a_damaged_bootconfig_is_garbage(tmp_path: Path) -> None:
    """One with a wrong checksum stays where it is, and the kernel stops at it."""
    with pytest.raises(ImageError, match="invalid magic at start of compressed archive"):
        read_image(image_of(tmp_path, with_bootconfig(ARCHIVE, wrong=1)))


@pytest.mark.parametrize(
    ("data", "named", "fix"),
    [
        (b"070707" + b"0" * 200, "portable format (odc)", "cpio -o -H newc"),
        (b"\xc7\x71" + bytes(200), "old binary format", "cpio -o -H newc"),
        (b"\x71\xc7" + bytes(200), "other byte order", "cpio -o -H newc"),
        (b"\x89LZO\0\r\n\x1a\n" + bytes(50), "lzo", "lzop -dc"),
        (b"\x04\x22\x4d\x18" + bytes(50), "legacy", "lz4 -l"),
        (b"\x50\x2a\x4d\x18" + bytes(50), "pzstd", "zstd"),
        (b"\x1f\x9d" + bytes(50), "compress (.Z)", "gzip"),
        (b"LZIP" + bytes(50), "lzip", "xz --check=crc32"),
        (lzma.compress(ARCHIVE), "CRC64", "xz --check=crc32"),
        (b"\1" + ARCHIVE, "neither an archive nor", ""),
        (bytes(2) + ARCHIVE, "not a multiple of 4", "NULs"),
        (ARCHIVE + bytes(1) + gzip.compress(ARCHIVE, mtime=0), "not a multiple of 4", "pad"),
        (gzip.compress(bytes(4) + ARCHIVE, mtime=0), "no cpio magic", ""),
        (gzip.compress(ARCHIVE + b"x", mtime=0), "junk within compressed archive", ""),
        (gzip.compress(ARCHIVE[:-4], mtime=0), "junk at the end of compressed archive", ""),
        (
            written(Member("a", FILE), b"data", checksum=True).replace(b"data", b"dada"),
            "bad data checksum",
            "",
        ),
        (ARCHIVE.replace(b"init\0", b"init!"), "malformed archive", ""),
        (INIT[:-5], "cut short", ""),
    ],
)
def test_what_the_kernel_refuses_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], data: bytes, named: str, fix: str
) -> None:
    """What it is, where it stands, and what to do about it; with status 100."""
    assert main.status_of(["inspect", str(image_of(tmp_path, data))]) == 100
    err = capsys.readouterr().err
    assert named in err
    assert fix in err


def test_what_comes_before_the_trouble_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The kernel keeps what it has unpacked, and so is it shown, with the place where it stops."""
    path = image_of(tmp_path, ARCHIVE + gzip.compress(written(Member("late", FILE), b"1") + b"0" * 200))
    for words in (["--files"], ["--json"]):
        assert main.status_of(["inspect", *words, str(path)]) == 100
        out, err = capsys.readouterr()
        assert "init" in out
        assert "late" in out
        assert f"gzip stream at offset {len(ARCHIVE)}" in err
        assert "the kernel says: no cpio magic" in err


def cpio(directory: Path, names: Sequence[str], form: str) -> bytes:
    text = "".join(f"{name}\n" for name in names).encode()
    argv = ["cpio", "--quiet", "-o", "-H", form]
    return subprocess.run(argv, cwd=directory, input=text, capture_output=True, check=True, timeout=10).stdout


@pytest.mark.parametrize("form", ["newc", "crc"])
def test_cpios_hard_links_and_checksums(tmp_path: Path, form: str) -> None:
    """GNU cpio writes a hard link's data at its last name, and format crc has a checksum; each name reads it."""
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a").write_bytes(b"contents")
    (tree / "b").hardlink_to(tree / "a")
    (tree / "c").symlink_to("b")
    image = open_image(image_of(tmp_path, cpio(tree, "abc", form))).require_whole()
    assert image.read(["a", "b", "c", "d"]) == {"a": b"contents", "b": b"contents", "c": b"contents"}


@pytest.mark.parametrize("form", ["odc", "bin"])
def test_cpios_old_formats_are_named(tmp_path: Path, form: str) -> None:
    """What cpio writes by default, or with -H odc, is said to be that."""
    (tmp_path / "init").write_bytes(b"#!/bin/sh\n")
    with pytest.raises(ImageError, match="old"):
        read_image(image_of(tmp_path, cpio(tmp_path, ["init"], form)))


def test_bsdtars_archive_is_read(tmp_path: Path) -> None:
    """libarchive's newc, with a hard link, reads as it unpacks there."""
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a").write_bytes(b"contents")
    (tree / "b").hardlink_to(tree / "a")
    argv = [require_program("bsdtar"), "-cf", "-", "--format", "newc", "-C", str(tree), "a", "b"]
    data = subprocess.run(argv, capture_output=True, check=True, timeout=10).stdout
    assert open_image(image_of(tmp_path, data)).require_whole().read("ab") == {
        "a": b"contents",
        "b": b"contents",
    }


@pytest.mark.parametrize("program", ["lsinitramfs", "lsinitrd"])
def test_the_distributions_tools_list_the_same(tmp_path: Path, program: str) -> None:
    """lsinitramfs names the same files of an image with microcode in front, lsinitrd of one without."""
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    early = written(Member("kernel", DIRECTORY), b"") + written(Member("kernel/early", FILE), b"x") + END
    front = early + bytes(-len(early) % 512) if program == "lsinitramfs" else b""
    path = image_of(tmp_path, front + gzip.compress(ARCHIVE, mtime=0))
    done = subprocess.run([program, path], capture_output=True, check=True, timeout=60, text=True)
    names = {word for line in done.stdout.splitlines() for word in line.split()[-1:]}
    assert names >= {name for name, _ in open_image(path).root.walk() if not name.startswith("kernel")}


@pytest.mark.parametrize("compressor", ["gzip", "bzip2", "xz", "zstd", "lzma"])
@pytest.mark.slow
def test_a_bomb_takes_no_memory(tmp_path: Path, compressor: str) -> None:
    """What a small file unpacks to a gigabyte is read in pieces: 400 MiB of address space suffice."""
    size = 1 << 30
    head = written(Member("bomb", FILE, size=size), b"")
    field = 6 + 6 * 8
    head = head[:field] + b"%08x" % size + head[field + 8 :]
    path = tmp_path / "bomb.img"
    tool = {"gzip": ["gzip", "-1"], "bzip2": ["bzip2", "-1"], "zstd": ["zstd", "-q", "-1"]}.get(
        compressor, ["xz", "-0", f"--format={compressor}", *(["--check=crc32"] if compressor == "xz" else [])]
    )
    if compressor in ("bzip2", "xz", "lzma"):
        size >>= 2  # they are slow
        head = head[:field] + b"%08x" % size + head[field + 8 :]
    with path.open("wb") as out, subprocess.Popen(tool, stdin=subprocess.PIPE, stdout=out) as process:
        assert process.stdin is not None
        process.stdin.write(head)
        for _ in range(size >> 20):
            process.stdin.write(bytes(1 << 20))
        process.stdin.write(END)
    done = subprocess.run(
        hostbuild_argv("inspect", "--json", path),
        capture_output=True,
        check=True,
        timeout=100,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (400 << 20, 400 << 20)),
    )
    assert json.loads(done.stdout)["files"] == [{"path": "bomb", "mode": "100644", "size": size}]


def test_telling_what_a_file_is_takes_no_memory(tmp_path: Path) -> None:
    """A head of 256 KiB whose zstd blocks of 4 bytes stand for 128 KiB each is looked into no further than need be."""
    block = (1 | 1 << 1 | (128 << 10) << 3).to_bytes(3, "little") + b"0"
    blocks = (int.from_bytes(block[:3], "little") - 1).to_bytes(3, "little") + b"0"
    path = image_of(tmp_path, b"\x28\xb5\x2f\xfd\0\x38" + blocks * 60000 + block)
    script = (
        "import re, sys; from pathlib import Path; from hostbuild.formats.sniff import kind_of_file; "
        "kind = kind_of_file(Path(sys.argv[1])).name; "  # VmHWM: getrusage's begins with what the parent had
        "print(kind, int(re.search(r'VmHWM:\\s+([0-9]+)', Path('/proc/self/status').read_text())[1]) >> 10)"
    )
    argv = [sys.executable, "-c", script, str(path)]
    done = subprocess.run(argv, capture_output=True, check=True, timeout=60, text=True)
    kind, mebibytes = done.stdout.split()
    assert kind == "PACKED"
    assert int(mebibytes) < 200


def test_limits_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What unpacks to too much, has too many members, or is wanted whole and too large, is refused in words."""
    monkeypatch.setattr(segments, "UNPACKED_MAX", 1000)
    with pytest.raises(ImageError, match="unpacks to more than"):
        read_image(image_of(tmp_path, gzip.compress(written(Member("a", FILE), bytes(2000)) + END)))
    monkeypatch.undo()
    monkeypatch.setattr(archive, "MEMBERS_MAX", 3)
    with pytest.raises(ImageError, match="more than 3 members"):
        read_image(image_of(tmp_path, INIT * 4 + END))
    monkeypatch.undo()
    monkeypatch.setattr(archive, "CONTENTS_MAX", 5)
    with pytest.raises(ImageError, match="read into memory"):
        open_image(image_of(tmp_path, ARCHIVE)).read(["init"])
    with pytest.raises(CompressionError, match="more than"):
        decompress(Compressor.GZIP, gzip.compress(bytes(3 << 20), mtime=0), 1 << 20)
    assert decompress(Compressor.BZIP2, bz2.compress(bytes(3 << 20)))[0] == bytes(3 << 20)


def test_a_link_to_a_directory_makes_no_ring() -> None:
    """A hard link whose first name a directory has taken comes to nothing; the tree can be listed to its end."""
    root = Root()
    assert root.unpack(Member("a", FILE, ino=1, nlink=2), 0) == ""
    assert root.unpack(Member("a", DIRECTORY), 1) == ""
    assert "directory" in root.unpack(Member("a/b", FILE, ino=1, nlink=2), 2)
    assert [path for path, _ in root.walk()] == ["a"]


def test_what_comes_to_nothing_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The kernel drops in silence what has no directory; control characters of names do not reach a terminal."""
    data = written(Member("no/where", FILE), b"x") + written(Member("e\x1b[31m", LINK), b"\x1b]0;t\7") + END
    path = image_of(tmp_path, INIT + data)
    assert main.status_of(["inspect", "--files", str(path)]) == 0
    out, err = capsys.readouterr()
    assert "the kernel drops no/where: there is no directory no" in err
    assert "\x1b" not in out + err
    assert "e\\x1b[31m -> \\x1b]0;t\\x07" in out
    assert main.status_of(["inspect", "--json", str(path)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["passed_over"] == [{"path": "no/where", "reason": "there is no directory no"}]


TREE = "usr/lib/modules/6.1.0-t"


@pytest.mark.parametrize(
    ("links", "denied"),
    [
        ({"etc/modprobe.d/a.conf": "../../usr/deny.conf"}, True),
        ({"etc/modprobe.d/a.conf": "/usr/deny.conf"}, True),
        ({"etc/modprobe.d/a.conf": "../../../../../../usr/deny.conf"}, True),
        ({"etc/modprobe.d/a.conf": "b", "etc/modprobe.d/b": "/usr/deny.conf"}, True),
        ({"run/modprobe.d": "../usr"}, True),
        ({"run/modprobe.d": "../usr", "etc/modprobe.d/deny.conf": "/dev/null"}, False),
        ({"run/modprobe.d": "../usr", "etc/modprobe.d/deny.conf": "nowhere"}, False),
        ({"etc/modprobe.d/a.conf": "a.conf"}, False),
    ],
    ids=["relative", "absolute", "above the root", "chain", "directory", "masked", "dangling", "ring"],
)
def test_predict_follows_links_inside_the_root(tmp_path: Path, links: dict[str, str], denied: bool) -> None:
    """A modprobe.d file counts wherever it lies in the image, and never one of this machine's."""
    directories = ["etc", "etc/modprobe.d", "run", "usr", "usr/lib", "usr/lib/modules", TREE]
    data = b"".join(written(Member(name, DIRECTORY), b"") for name in directories)
    files = {
        "usr/deny.conf": b"blacklist foo\n",
        f"{TREE}/modules.dep": b"kernel/foo.ko:\n",
        f"{TREE}/modules.alias": b"alias pci:v1 foo\n",
    }
    data += written(Member("lib", LINK), b"usr/lib")
    data += b"".join(written(Member(name, FILE), text) for name, text in files.items())
    data += b"".join(written(Member(name, LINK), target.encode()) for name, target in links.items())
    target = open_target(image_of(tmp_path, data + written(Member(TRAILER, 0), b"")), {})
    assert bool(target.resolver.configuration.blacklists) is denied
    assert target.kernel == "6.1.0-t"


def test_an_image_that_is_compressed_twice_is_no_archive(tmp_path: Path) -> None:
    """The kernel unpacks one layer."""
    packer = sink(Packing(Compressor.ZSTD), 1 << 20)
    data = packer.compress(gzip.compress(ARCHIVE, mtime=0)) + packer.flush()
    with pytest.raises(ImageError, match="no header at offset 0"):
        read_image(image_of(tmp_path, data))


def test_an_image_may_come_through_a_pipe(tmp_path: Path) -> None:
    """It cannot be read twice, so it is kept; the same is found in it."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(ARCHIVE,), daemon=True)
    writer.start()
    found = open_image(pipe)
    writer.join(20)
    assert [path for path, _ in found.root.walk()] == ["init"]


def test_an_image_that_changes_while_it_is_read(tmp_path: Path) -> None:
    """What stood in it is no longer there, or damaged: that is said, and nothing wrong is given."""
    path = image_of(tmp_path, ARCHIVE)
    image = open_image(path)
    assert image.read(["init"]) == {"init": b"#!/bin/sh\n"}
    path.write_bytes(b"")
    with pytest.raises(ImageError, match="has changed while it was read"):
        image.read(["init"])
    path.write_bytes(INIT[:60])
    with pytest.raises(ImageError, match="damaged"):
        image.read(["init"])


def test_a_bootconfig_that_says_it_is_longer_than_the_image(tmp_path: Path) -> None:
    """The kernel takes it for none (init/main.c, get_boot_config_from_initrd), and so what it is: garbage behind."""
    whole = ARCHIVE + struct.pack("<II", 1 << 20, 0) + b"#BOOTCONFIG\n"
    image = open_image(image_of(tmp_path, whole))
    assert image.bootconfig == 0
    assert image.trouble is not None


def test_a_packed_stream_with_nothing_inside(tmp_path: Path) -> None:
    """At the start the kernel gives up on it; the words are the kernel's."""
    image = open_image(image_of(tmp_path, packed(Compressor.GZIP, b"")))
    assert image.trouble is not None
    assert "holds nothing" in str(image.trouble)
    assert image.trouble.said == "junk at the end of compressed archive"


def test_a_link_whose_target_is_too_long_is_passed_over(tmp_path: Path) -> None:
    """PATH_MAX counts for targets, too (init/initramfs.c, do_header); what follows is unpacked."""
    image = open_image(image_of(tmp_path, written(Member("link", LINK | 0o777), b"x" * 5000) + INIT + END))
    assert [path for path, _ in image.root.walk()] == ["init"]
    assert image.passed_over == [("link", "its target has 5000 bytes")]
