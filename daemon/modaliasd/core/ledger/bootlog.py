"""What the kernel's log tells of its own boot, before any module could be loaded: when /init was run, what took long.

    [    0.712345] Trying to unpack rootfs image as initramfs...    init/initramfs.c, do_populate_rootfs
    [    1.204511] Freeing initrd memory: 11564K                    init/initramfs.c, free_initrd_mem
    [    1.951008] Run /init as init process                        init/main.c, run_init_process
    [    1.103020] initcall acpi_init+0x0/0x3f0 returned 0 after 210331 usecs     only with initcall_debug

The log's clock is the scheduler's (printk's local_clock), which begins a little before CLOCK_BOOTTIME: some
milliseconds lie between the two.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from modaliasd.core.ledger.write import Json

MOST_INITCALLS = 20  # of those that took longest
LEAST_US = 1000  # what takes less is not worth a line
_INIT = ("Run ", " as init process")
_UNPACKS = ("Trying to unpack rootfs image as initramfs", "Unpacking initramfs")
_UNPACKED = "Freeing initrd memory"


def is_end(text: str) -> bool:
    """Return whether the kernel's own part of the boot ends with this message."""
    return text.startswith(_INIT[0]) and text.endswith(_INIT[1])


def boot_fields(records: Iterable[tuple[int, str]]) -> dict[str, Json]:
    """Return the fields of the ledger's `boot` line; {} where the log does not tell when /init was run.

    records: (microseconds, text) of the log, from its beginning on.
    """
    fields: dict[str, Json] = {}
    calls: list[tuple[int, str, int]] = []
    for t_us, text in records:
        if text.startswith("initcall "):
            name, cost = _call(text)
            if cost >= LEAST_US:
                calls.append((-cost, name, t_us))
        elif text.startswith(_UNPACKS):
            fields.setdefault("unpack_us", t_us)
        elif text.startswith(_UNPACKED):
            fields["unpacked_us"] = t_us
        elif is_end(text):
            fields["init_us"] = t_us
            break
    if "init_us" not in fields:
        return {}
    slowest: list[Json] = [
        {"name": name, "end_us": end_us, "ms": -cost / 1000}
        for cost, name, end_us in sorted(calls)[:MOST_INITCALLS]
    ]
    return fields | {"initcalls": slowest}


def _call(text: str) -> tuple[str, int]:
    """Return function and microseconds of `initcall NAME+0xOFFSET/0xSIZE [MODULE] returned STATUS after NUMBER usecs`.

    "" and 0 of another line.
    """
    words = text.split()
    if len(words) < 7 or words[-3] != "after" or words[-1] != "usecs" or not words[-2].isdecimal():
        return "", 0
    return words[1].partition("+0x")[0], int(words[-2])
