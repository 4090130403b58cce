"""What a guest's serial lines say: console text without escape sequences, why a boot failed.

Everything here takes bytes or text and returns values; hostbuild.qemu.vm fetches them.

Escape sequences are those of ECMA-48: CSI (ESC [ parameters intermediates final), the string sequences
(ESC ] and its kin up to BEL or ESC \\), and the short ones (ESC intermediates final). The kernel's wording is
that of init/main.c, init/initramfs.c, kernel/panic.c, mm/oom_kill.c and kernel/module/main.c.
"""

import re
from dataclasses import dataclass

_ESCAPE = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor movements, the report that busybox sh asks for
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)"  # OSC, DCS, SOS, PM, APC: a string up to its terminator
    r"|\x1b[ -/]*[0-Z\\`-~]"  # the short ones; not the openers [ ] ^ _, which the lines above want whole
    r"|\x1b[\[\]^_]?[^\n]{0,40}\Z"  # cut off by the end of what has arrived
)
# C0 and C1, and what shows text in another order than it has (UAX #9)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def clean(raw: bytes) -> str:
    """Console bytes as text: no escape sequences, no control characters but newline and tab, nothing that changes the
    order of what is shown.

    A carriage return takes the cursor to the line's start; only what is written after the last one is kept.
    Bytes that are not UTF-8 become U+FFFD.
    """
    text = _ESCAPE.sub("", raw.decode("utf-8", "replace"))
    lines = (line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
    return "\n".join(_CONTROL.sub("", line) for line in lines)


def tail(text: str, lines: int = 25) -> str:
    """Return the last `lines` lines of `text` that are not empty."""
    return "\n".join([line for line in text.splitlines() if line.strip()][-lines:])


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Why a guest failed, in words, what fixes it, and the console line that shows it."""

    reason: str
    fix: str
    line: str


# The first row that matches is the cause: what the kernel says later (a panic) follows from it.
_SIGNS: tuple[tuple[str, str, str], ...] = (
    (
        r"Initramfs unpacking failed: (?:write error|.*[Nn]o space left)"
        r"|rootfs image is not initramfs \(write error\)",
        "the image is too large for this memory: unpacked it does not fit into half of what is free",
        "give the guest more memory (--memory auto; hostbuild ram IMAGE tells how much), or put less into the image",
    ),
    (
        r"Initramfs unpacking failed: .*not configured",
        "the kernel cannot decompress the image: that compressor is not built into it",
        "build the image with another --compress (gzip is the most common), or a kernel with CONFIG_RD_...=y",
    ),
    (
        r"(?:Initramfs unpacking failed: |rootfs image is not initramfs \()(?:broken padding|incorrect cpio method)",
        "the kernel could not unpack the image: an archive in it begins at no multiple of 4, or is of an old format",
        "hostbuild inspect IMAGE tells where, and how to write it",
    ),
    (
        r"(?:Initramfs unpacking failed: |rootfs image is not initramfs \()Input was encoded with settings",
        "the kernel could not unpack the image: its xz has settings that the kernel's decoder does not know",
        "pack it with xz --check=crc32 --lzma2=dict=1MiB",
    ),
    (
        r"Initramfs unpacking failed|rootfs image is not initramfs",
        "the kernel could not unpack the image: it is damaged, cut short or not an initramfs",
        "build the image again, and look into it with: hostbuild inspect IMAGE",
    ),
    (
        # nobody to kill: the kernel is still unpacking, and no process but init is there
        r"Out of memory and no killable processes|System is deadlocked on memory",
        "the image is too large for this memory: the guest ran out of memory while it unpacked the image",
        "give the guest more memory (--memory auto; hostbuild ram IMAGE tells how much), or put less into the image",
    ),
    (
        r"Out of memory: Killed process|Kernel panic - not syncing: .*[Oo]ut of memory",
        "the guest ran out of memory",
        "give it more memory (--memory)",
    ),
    (
        r"Invalid ELF header magic",
        "a module is compressed, and what loads it (busybox) hands it to the kernel as it is",
        "unpack the modules (.ko.xz, .ko.zst, .ko.gz) before they go into the image, and run depmod",
    ),
    (
        r"No working init found|Requested init \S+ failed|Failed to execute /init",
        "the image has no /init that the kernel can run: it, or its interpreter, is absent or not executable",
        "give the image an executable /init and what it needs; hostbuild inspect IMAGE lists what is there",
    ),
    (
        r"VFS: Unable to mount root fs|VFS: Cannot open root device",
        "the kernel found no /init in the image, and no root file system either",
        "put an executable /init at the image's top, and check that the kernel has CONFIG_BLK_DEV_INITRD=y",
    ),
    (
        r"Attempted to kill init!",
        "the guest's first process, /init, ended",
        "look at the console above: /init must never exit",
    ),
    (
        r"\bint3: 0000 \[#1\]",
        "the guest's kernel met a breakpoint that it had taken out of its own code again",
        "QEMU before 8.1 causes that when it emulates several CPUs at once: --cpus 1, or a newer QEMU",
    ),
    (
        r"Kernel panic - not syncing",
        "the guest's kernel panicked",
        "look at the console's last lines",
    ),
    # A kernel that goes on, and says what does not (kernel/watchdog.c, kernel/hung_task.c, kernel/rcu/tree_stall.h).
    (
        r"BUG: soft lockup - CPU#\d+ stuck|NMI watchdog: .*hard LOCKUP",
        "a CPU of the guest's is stuck in its kernel",
        "look at the report on the console; --append softlockup_panic=1 makes a panic of it",
    ),
    (
        r"INFO: task \S+ blocked for more than \d+ seconds",
        "a task of the guest's waits in its kernel, and nothing wakes it",
        "look at the report on the console: it says where the task waits",
    ),
    (
        r"rcu: INFO: .* (?:detected|self-detected) stall",
        "a CPU of the guest's gets no further (an RCU stall)",
        "look at the report on the console; a host that is very busy can cause it, too",
    ),
)
_SIGN_PATTERNS = tuple((re.compile(pattern), reason, fix) for pattern, reason, fix in _SIGNS)


def diagnose(text: str) -> Diagnosis | None:
    """Find why the boot in this console text failed; None where it shows no known failure."""
    for pattern, reason, fix in _SIGN_PATTERNS:
        found = pattern.search(text)
        if found is None:
            continue
        start = text.rfind("\n", 0, found.start()) + 1
        end = text.find("\n", found.end())
        return Diagnosis(reason, fix, text[start : end if end >= 0 else None].strip())
    return None


_UNPACKING = re.compile(
    r"^\[ *\d+\.\d+\](?:\[[^\]]*\])? (?:Initramfs unpacking failed: |rootfs image is not initramfs).*$",
    re.MULTILINE,
)


def unpacking_failure(text: str) -> Diagnosis | None:
    """Find that the kernel did not unpack its image to the end; it boots all the same if /init came before that.

    Only the kernel's own lines count, by the time that they begin with.
    """
    found = _UNPACKING.search(text)
    return diagnose(found[0]) if found else None


def panicked(text: str) -> bool:
    """Return whether the kernel said that it panicked."""
    return "Kernel panic - not syncing" in text


def restarted_on_purpose(text: str) -> bool:
    """Return whether the kernel said that somebody asked for a restart (kernel/reboot.c); in a panic it does not."""
    return "reboot: Restarting system" in text
