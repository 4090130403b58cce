"""What became of a module's load, and what the kernel's and modprobe's words about it mean."""

from __future__ import annotations

from modaliasd.core.fasttypes import Enum, NamedTuple


class Outcome(Enum):
    """How a load ended."""

    INSERTED = "inserted"
    LIVE = "live"  # it was there already
    BUILTIN = "builtin"  # compiled into the kernel
    DENIED = "denied"  # by a blacklist line, the kernel's module_blacklist=, or policy
    NODEVICE = "nodevice"  # its init found nothing to drive (ENODEV) and it left again
    COMMAND = "command"  # an install line's command ran in its place
    FAILED = "failed"


SUCCESSES = (Outcome.INSERTED, Outcome.LIVE, Outcome.BUILTIN, Outcome.COMMAND)


class Verdict(NamedTuple):
    """An outcome with the words that explain it."""

    outcome: Outcome
    message: str = ""


# What both modprobes print is strerror(3) of the C library; busybox and kmod reword a few of them.
# A needle, and what it means for the one who has to fix it.
_MEANINGS = (
    (
        "Invalid ELF header magic",
        "the module file is compressed and this modprobe cannot read it: decompress it",
    ),
    ("disagrees about version of symbol", "the module was built for another kernel"),
    ("version magic", "the module was built for another kernel"),
    ("Unknown symbol", "it needs a symbol that neither the kernel nor a loaded module exports"),
    ("unknown symbol", "it needs a symbol that neither the kernel nor a loaded module exports"),
    ("Key was rejected by service", "its signature is missing or bad, and this kernel demands one"),
    ("Required key not available", "it is signed with a key that this kernel does not know"),
    # busybox names the file it could not load
    (".ko.gz", "the module file is compressed and this modprobe cannot read it: decompress it"),
    (".ko.xz", "the module file is compressed and this modprobe cannot read it: decompress it"),
    (".ko.zst", "the module file is compressed and this modprobe cannot read it: decompress it"),
    (
        "Exec format error",
        "the file is no module for this kernel: damaged, compressed, or of another version",
    ),
    (
        "Invalid module format",
        "the file is no module for this kernel: damaged, compressed, or of another version",
    ),
    (
        "invalid module format",
        "the file is no module for this kernel: damaged, compressed, or of another version",
    ),
    ("Cannot allocate memory", "out of memory"),
    ("ut of memory: Killed process", "the kernel was out of memory and ended modprobe"),  # mm/oom_kill.c
    ("not found in directory", "it is not in this image"),
    ("not found in modules.dep", "it is not in this image"),
    ("No such file or directory", "it is not in this image"),
    ("module not found", "it is not in this image"),
)
_FORMAT_ERRORS = ("Exec format error", "nvalid module format")
_NAMELESS = "Invalid ELF header magic"  # kernel/module/main.c, elf_validity_check: it does not say whose
_KILLED = "ut of memory: Killed process {} "
_NO_DEVICE = ("No such device", "no such device")


def explain_failure(module: str, status: int, words: str, kernel_words: str) -> Verdict:
    """The verdict on `module` that is not live after a modprobe ended.

    status: as waitstatus_to_exitcode gives it, negative for a signal. words: the lines of modprobe's stderr
    that speak of this module. kernel_words: the kernel's own lines about it, from /dev/kmsg.
    """
    if any(needle in words for needle in _NO_DEVICE):
        return Verdict(Outcome.NODEVICE, "its init found no device to drive (ENODEV)")
    said = "; ".join(part for part in (kernel_words, words) if part)
    for needle, meaning in _MEANINGS:
        if needle in said:
            return Verdict(Outcome.FAILED, f"{meaning} ({said})")
    if said:
        return Verdict(Outcome.FAILED, said)
    if status < 0:
        return Verdict(Outcome.FAILED, f"modprobe was ended by signal {-status}")
    return Verdict(
        Outcome.FAILED, f"modprobe ended with status {status} and said nothing; {module} is not live"
    )


def lines_about(module: str, text: str) -> str:
    """The lines of `text` that name the module, in either spelling, joined by `; `."""
    spellings = (module, module.replace("_", "-"))
    found = [line.strip() for line in text.splitlines() if any(s in line for s in spellings)]
    return "; ".join(found)


def kernel_lines_about(module: str, pid: int, lines: list[str], words: str) -> str:
    """The lines of the kernel's log about a module's failure, or about the end of the modprobe that was process `pid`.

    modprobe's words tell which nameless ones can be.
    """
    killed = [line for line in lines if _KILLED.format(pid) in line]
    if killed:
        return killed[-1]
    named = lines_about(module, "\n".join(lines))
    if named or not any(needle in words for needle in _FORMAT_ERRORS):
        return named
    nameless = [line for line in lines if line.startswith(_NAMELESS)]
    return nameless[-1] if nameless else ""
