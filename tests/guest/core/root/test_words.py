"""The words about the root file system: core/root/words.py."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modaliasd.core.root.wire import quoted, unquoted
from modaliasd.core.root.words import By, Target, parse_root


@pytest.mark.parametrize(
    ("line", "target"),
    [
        ("root=UUID=1234-ABCD", Target(By.UUID, "1234-ABCD")),
        ('root="LABEL=my root"', Target(By.LABEL, "my root")),
        ('root=LABEL="my root"', Target(By.LABEL, "my root")),
        ("root=PARTUUID=5df81a1c-02", Target(By.PARTUUID, "5df81a1c-02")),
        ("root=PARTUUID=5df81a1c-02/PARTNROFF=1", Target(By.PARTUUID, "5df81a1c-02", 1)),
        ("root=PARTLABEL=root", Target(By.PARTLABEL, "root")),
        ("root=/dev/vda1", Target(By.NODE, "/dev/vda1")),
        ("root=vda1", Target(By.NODE, "/dev/vda1")),
        ("root=/dev/mapper/vg-root", Target(By.NODE, "/dev/mapper/vg-root")),
        ("root=/dev/disk/by-uuid/1234-ABCD", Target(By.UUID, "1234-ABCD")),
        (r"root=/dev/disk/by-label/my\x20root", Target(By.LABEL, "my root")),
        ("root=/dev/disk/by-partlabel/root", Target(By.PARTLABEL, "root")),
        ("root=253:1", Target(By.NUMBER, "253:1")),
        ("root=virtiofs:share", Target(By.TAG, "share", system="virtiofs")),
        ("root=share rootfstype=9p", Target(By.TAG, "share", system="9p")),
        ("root=/dev/ram0", None),
        ("quiet", None),
    ],
)
def test_targets(line: str, target: Target | None) -> None:
    """Each way to name a root file system is understood, and nothing is wrong with it."""
    words = parse_root(line)
    assert (words.target, words.problems) == (target, ())


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("root=UUID=", "names nothing"),
        ("root=UIID=12", "is none of UUID="),
        ("root=/etc/fstab", "is none of UUID="),
        ("root=PARTUUID=1/PARTNROFF=x", "expected a number"),
        ("root=vda rootdelay=soon", "`rootdelay=soon` is ignored"),
        ("root=vda init=sh", "`init=sh` is ignored"),
        ("root=vda fsck.mode=maybe", "`fsck.mode=maybe` is ignored"),
    ],
)
def test_what_cannot_be_used_is_said(line: str, said: str) -> None:
    """A word that cannot be used is named, with what was expected."""
    (problem,) = parse_root(line).problems
    assert said in problem


def test_the_other_words() -> None:
    """Modes, times, flags and the overlay are read as the kernel and its users have them; the last one counts."""
    words = parse_root(
        "root=vda rw ro rootflags=noatime,subvol=@ rootfstype=ext4,xfs rootwait init=/bin/sh rootovl"
    )
    assert (words.writable, words.wait, words.overlay, words.init) == (False, True, True, "/bin/sh")
    assert (words.types, words.flags) == (("ext4", "xfs"), "noatime,subvol=@")
    assert parse_root("root=vda rootwait=7").delay_s == 7
    assert not parse_root("root=vda rootwait=7").wait
    assert parse_root("root=vda rootdelay=3").delay_s == 3
    assert not parse_root("root=vda rootovl=0").overlay
    assert parse_root("root=vda fastboot").fsck == "skip"
    assert parse_root("root=vda rootfstype=ramfs").types == (), "that is what the initramfs lies in"


@given(st.text())
def test_any_command_line_is_understood_or_told(line: str) -> None:
    """Whatever stands there, there is an answer."""
    parse_root(line)


@given(st.text(st.characters(codec="utf-8")))
def test_words_of_requests(text: str) -> None:
    """Any text is one word without blanks, and comes back as it was."""
    word = quoted(text)
    assert unquoted(word) == text
    assert len(word.split()) == bool(text)
    assert word.isascii()
