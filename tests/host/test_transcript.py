"""hostbuild.transcript: console text, ledger lines, and the reasons for failed boots."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostbuild.transcript import LedgerReader, clean, diagnose, panicked, restarted_on_purpose, tail


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"plain\r\nlines\r\n", "plain\nlines\n"),
        (b"/ # \x1b[6n", "/ # "),  # busybox sh asks the terminal where its cursor is
        (b"\x1bc\x1b[?7l\x1b[2J\x1b[0mSeaBIOS", "SeaBIOS"),  # the firmware clears the screen
        (b"\x1b[1;31mred\x1b[m", "red"),
        (b"\x1b]0;a title\x07after", "after"),
        (b"\x1b]0;a title\x1b\\after", "after"),
        (b"\x1b(Bascii", "ascii"),
        (b"10%\r50%\r100%\r\n", "100%\n"),
        (b"bell\x07 and null\x00", "bell and null"),
        (b"\ttab stays", "\ttab stays"),
        (b"\xff\xc3\xa9", "\ufffdé"),
        (b"cut off \x1b[3", "cut off "),
    ],
    ids=lambda value: repr(value) if isinstance(value, bytes) else "",
)
def test_clean(raw: bytes, text: str) -> None:
    """Escape sequences and control characters go, text and line breaks stay."""
    assert clean(raw) == text


@given(st.binary())
def test_clean_leaves_nothing_to_clean(raw: bytes) -> None:
    """No control character but newline and tab survives, and cleaning again changes nothing."""
    text = clean(raw)
    assert not any(ord(char) < 0x20 and char not in "\n\t" for char in text)
    assert clean(text.encode()) == text


@given(st.text(st.characters(exclude_categories=["C"])))
def test_clean_keeps_plain_text(text: str) -> None:
    """Text without control characters is not touched."""
    assert clean(text.encode()) == text


# Lines of real boots: Debian's 6.1.0-56-amd64 in QEMU 7.2, provoked by small, damaged and missing images.
@pytest.mark.parametrize(
    ("console", "reason"),
    [
        (
            "[    1.2] Initramfs unpacking failed: write error\n"
            "[    2.0] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100",
            "does not fit",
        ),
        (
            "[    1.2] Initramfs unpacking failed: compression method zstd not configured\n"
            "[    3.0] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)",
            "cannot decompress",
        ),
        ("[    1.2] Initramfs unpacking failed: invalid magic at start of compressed archive", "damaged"),
        (
            "[    9.9] Out of memory: Killed process 71 (python3) total-vm:21312kB",
            "ran out of memory",
        ),
        (
            "[    1.0] Kernel panic - not syncing: System is deadlocked on memory",
            "ran out of memory",
        ),
        ("[    4.0] Invalid ELF header magic: != \x7fELF", "compressed"),
        (
            "[    2.9] Kernel panic - not syncing: No working init found.  Try passing init= option to kernel.",
            "no /init",
        ),
        (
            "[    2.9] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)",
            "no initramfs",
        ),
        (
            "[    2.2] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000000",
            "first process",
        ),
        ("[    2.2] Kernel panic - not syncing: Fatal exception", "kernel panicked"),
    ],
    ids=lambda value: value if len(value) < 20 else "",
)
def test_diagnose(console: str, reason: str) -> None:
    """Each known failure has its reason and what mends it; of several signs the earlier cause is named."""
    found = diagnose(f"[    0.1] Linux version 6.1\n{console}\n[    9.9] more\n")
    assert found is not None
    assert reason in found.reason
    assert found.mend
    assert found.line in console.splitlines()


def test_a_good_boot_has_no_diagnosis() -> None:
    """The messages of a boot that works, some of which speak of panics and memory, are no failure."""
    console = (
        "Command line: console=ttyS0 panic=-1\n"
        "[    0.0] Memory: 200000K/261624K available\n"
        "[    1.0] Freeing initrd memory: 1234K\n"
        "[    3.0] Run /init as init process\n"
        "[    3.5] reboot: Power down\n"
    )
    assert diagnose(console) is None
    assert not panicked(console)
    assert not restarted_on_purpose(console)


def test_tail_counts_lines_with_text() -> None:
    """The tail leaves out empty lines, so that it shows as much as it can."""
    assert tail("a\n\nb\n\n\nc\n\n", 2) == "b\nc"


def test_torn_lines_are_kept_and_do_not_stop_the_reader() -> None:
    """A line that is no JSON object with a type is counted; the next record is read."""
    reader = LedgerReader()
    lines = [
        b'{"type":"start"}',
        b'{"type":"lo',
        b"[1]",
        b'{"type":3}',
        b"",
        b"\xff\xfe",
        b'{"type":"settled"}',
    ]
    records = reader.feed(b"\n".join(lines) + b"\n")
    assert [record["type"] for record in records] == ["start", "settled"]
    assert reader.torn == [lines[1], lines[2], lines[3], lines[5]]


def test_a_record_cut_off_by_the_end_is_torn() -> None:
    """What the guest was writing when it ended is kept as a torn line."""
    reader = LedgerReader()
    assert reader.feed(b'{"type":"settled"') == []
    reader.finish()
    assert reader.torn == [b'{"type":"settled"']


def test_surrogate_escapes_survive() -> None:
    """A name that is not UTF-8 comes through as the lone surrogates that docs/ledger.md promises."""
    (record,) = LedgerReader().feed(b'{"type":"device","devpath":"/devices/\\udcff"}\n')
    assert record["devpath"] == "/devices/\udcff"


@given(st.lists(st.fixed_dictionaries({"type": st.text(), "n": st.integers()}), max_size=8), st.data())
def test_pieces_do_not_matter(records: list[dict[str, object]], data: st.DataObject) -> None:
    """However a serial line cuts the stream, the same records come out."""
    stream = "".join(json.dumps(record) + "\n" for record in records).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    reader = LedgerReader()
    got = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        got += reader.feed(stream[start:end])
    assert got == records
    assert reader.torn == []
