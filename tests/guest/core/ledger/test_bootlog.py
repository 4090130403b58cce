"""bootlog.py: what Debian's kernel 6.1 wrote into its log in a boot of QEMU, and what of it stands in the ledger."""

import os

import pytest

from modaliasd.core.ledger.bootlog import MOST_INITCALLS, boot_fields, is_end
from modaliasd.linux.kmsg import read_boot_log

LOG = [
    (0, "Linux version 6.1.0-56-amd64 (debian-kernel@lists.debian.org)"),
    (712345, "Trying to unpack rootfs image as initramfs..."),
    (900000, "initcall acpi_init+0x0/0x3f0 returned 0 after 210331 usecs"),
    (900100, "initcall tiny_init+0x0/0x3f0 returned 0 after 3 usecs"),
    (900200, "initcall init_module+0x0/0xff0 [virtio] returned -19 after 5000 usecs"),
    (1204511, "Freeing initrd memory: 11564K"),
    (1951008, "Run /init as init process"),
    (1951100, "  with arguments:"),
    (1960000, "initcall late+0x0/0x1 returned 0 after 90000 usecs"),
]


def test_the_kernels_part() -> None:
    """When the initramfs was unpacked, when /init was run, and the initcalls that took long, the longest first."""
    assert boot_fields(LOG) == {
        "unpack_us": 712345,
        "unpacked_us": 1204511,
        "init_us": 1951008,
        "initcalls": [
            {"name": "acpi_init", "end_us": 900000, "ms": 210.331},
            {"name": "init_module", "end_us": 900200, "ms": 5.0},
        ],
    }


def test_a_log_without_its_end_tells_nothing() -> None:
    """Where the ring has lost the message, or there was none, nothing is guessed."""
    assert boot_fields(LOG[:6]) == {}
    assert boot_fields([]) == {}


def test_at_most_so_many_initcalls() -> None:
    """A kernel has thousands."""
    many = [(at, f"initcall f{at}+0x0/0x1 returned 0 after {2000 + at} usecs") for at in range(500)]
    calls = boot_fields([*many, LOG[6]])["initcalls"]
    assert isinstance(calls, list)
    assert len(calls) == MOST_INITCALLS
    assert calls[0] == {"name": "f499", "end_us": 499, "ms": 2.499}


def test_this_machines_log_is_read_to_that_line() -> None:
    """A record a read, from /dev/kmsg's beginning, and no further than it is asked for."""
    if not os.access("/dev/kmsg", os.R_OK):
        pytest.skip("/dev/kmsg cannot be read here")
    records = read_boot_log(is_end)
    times = [t_us for t_us, _text in records]
    assert times == sorted(times)
    assert [text for _t_us, text in records[:-1] if is_end(text)] == []
    assert read_boot_log(is_end, "/nowhere") == []
