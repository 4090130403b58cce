"""fsck before the mount: rootfs/mount.py, with programs that end as the test says."""

import pytest

from modaliasd.core.root.superblock import Superblock
from modaliasd.core.root.target import BlockDevice
from modaliasd.core.root.words import parse_root
from modaliasd.linux.process import Ended
from modaliasd.rootfs import mount
from modaliasd.rootfs.daemon import Daemon
from modaliasd.rootfs.mount import Mounter, Stage


def checked(
    patch: pytest.MonkeyPatch, status: int, words: str = "", kind: str = "ext4"
) -> tuple[Mounter, list[str], Stage | None]:
    """Mount a device whose fsck ends with this status; what was run, and why it is not mounted."""
    ran: list[str] = []

    def run(program: str, *arguments: str, **_how: object) -> Ended:
        ran.append(" ".join([program, *arguments]))
        return Ended(status, "one\n two\n") if "fsck" in program else Ended(0, "")

    patch.setattr(mount, "find_program", lambda name: f"/sbin/{name}")
    patch.setattr(mount, "run", run)
    patch.setattr(mount, "_tell", lambda _line: None)
    patch.setattr(mount, "_make_directories", lambda _path: None)
    patch.setattr(mount, "read_text", lambda _path: "ext4 vfat overlay tmpfs")
    mounter = Mounter(parse_root(f"root=/dev/vda {words}"), Daemon())
    refusal = mounter.mount(BlockDevice("/dev/vda", size=1, holds=Superblock(kind)), ())
    return mounter, ran, refusal.stage if refusal is not None else None


@pytest.mark.parametrize(
    ("status", "said", "stage"),
    [
        (0, "", None),
        (1, "fsck.ext4 corrected errors: one; two", None),
        (3, "fsck.ext4 corrected errors: one; two", None),
        (4, "", Stage.CHECK),
        (12, "", Stage.CHECK),
        (8, "fsck.ext4 ended with 8, and checked nothing: one; two", None),
        (-9, "fsck.ext4 was ended by signal 9, and checked nothing: one; two", None),
    ],
)
def test_each_status(monkeypatch: pytest.MonkeyPatch, status: int, said: str, stage: Stage | None) -> None:
    """Errors that are left stop the mount; whatever else fsck comes to does not, and is told (fsck(8))."""
    mounter, ran, refused = checked(monkeypatch, status)
    assert (mounter.checked, refused) == (said, stage)
    assert ran[0] == "/sbin/fsck.ext4 -a /dev/vda"
    assert (len(ran) > 1) == (stage is None)


@pytest.mark.parametrize(
    ("words", "kind", "first"),
    [
        ("fsck.mode=skip", "ext4", "/bin/mount"),
        ("fsck.mode=force", "ext4", "/sbin/fsck.ext4 -f -a"),
        ("fsck.mode=force", "vfat", "/sbin/fsck.vfat -a"),
        ("rootovl", "ext4", "/bin/mount"),
        ("rootovl fsck.mode=force", "ext4", "/sbin/fsck.ext4 -f -a"),
    ],
)
def test_when_it_runs(monkeypatch: pytest.MonkeyPatch, words: str, kind: str, first: str) -> None:
    """Not where it is to be skipped, nor below an overlay; -f only where that means to check in any case."""
    _, ran, _ = checked(monkeypatch, 0, words, kind)
    assert ran[0].startswith(first)
