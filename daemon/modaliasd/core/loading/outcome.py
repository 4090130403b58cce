"""What became of a module's load, and what the kernel's and modprobe's words about it mean.

This is the only place that reads those words: what they mean becomes a FailureKind, which goes into the ledger, and
everything else asks that value.
"""

from __future__ import annotations

from modaliasd.core.fasttypes import Enum, NamedTuple


class Outcome(Enum):
    """How a load ended."""

    INSERTED = "inserted"
    OBSERVED = (
        "observed"  # somebody else did (udev, the kernel's own request, a hand), and the daemon watched
    )
    LIVE = "live"  # it was there already
    BUILTIN = "builtin"  # compiled into the kernel
    DENIED = "denied"  # by a blacklist line, the kernel's module_blacklist=, or policy
    NODEVICE = "nodevice"  # its init found nothing to drive (ENODEV) and it left again
    COMMAND = "command"  # an install line's command ran in its place
    FAILED = "failed"


SUCCESSES = (Outcome.INSERTED, Outcome.OBSERVED, Outcome.LIVE, Outcome.BUILTIN, Outcome.COMMAND)


class FailureKind(Enum):
    """Why a load was denied or failed; docs/ledger.md has a line on each."""

    # denied
    BLACKLIST = "blacklist"
    ALIAS_OFF = "alias_off"
    MODULE_BLACKLIST = "module_blacklist"
    NEEDS_DENIED = "needs_denied"
    POLICY = "policy"
    # nothing that could be inserted
    NOT_IN_IMAGE = "not_in_image"
    DEPENDENCY_CYCLE = "dependency_cycle"
    DEPENDENCY = "dependency"
    RING = "ring"
    UNSAFE_NAME = "unsafe_name"
    CANNOT_START = "cannot_start"
    # the kernel refused it
    WRONG_KERNEL = "wrong_kernel"
    UNKNOWN_SYMBOL = "unknown_symbol"
    BAD_PARAMETER = "bad_parameter"
    COMPRESSED = "compressed"
    BAD_FORMAT = "bad_format"
    SIGNATURE = "signature"
    LOCKDOWN = "lockdown"
    MODULES_DISABLED = "modules_disabled"
    NOT_PERMITTED = "not_permitted"
    NO_MEMORY = "no_memory"
    KILLED = "killed"
    UNKNOWN = "unknown"


class LoadResult(NamedTuple):
    """How a load ended, with the words that explain it.

    failure: why it was denied or failed; None for any other outcome. blocked_by: with DEPENDENCY, the module that it
    needs and that did not come in.
    """

    outcome: Outcome
    message: str = ""
    failure: FailureKind | None = None
    blocked_by: str = ""


INSERTED = LoadResult(Outcome.INSERTED)
OBSERVED = LoadResult(Outcome.OBSERVED)

_DECOMPRESS = "the module file is compressed and this modprobe cannot read it: decompress it"
_OTHER_KERNEL = "the module was built for another kernel"
_NO_SYMBOL = "it needs a symbol that neither the kernel nor a loaded module exports"
_FORMAT = "the file is not a module for this kernel: damaged, compressed, or of another version"
_UNSIGNED = "its signature is missing or bad, and this kernel demands one"
_ABSENT = "it is not in this image"
_NOT_PERMITTED = "Operation not permitted"  # EPERM, which the kernel has for four different things
# What both modprobes print is strerror(3) of the C library; busybox and kmod reword a few of them. A needle, what kind
# of failure it tells of, and what it means for the one who has to fix it. The first one found counts: the kernel's own
# words are more exact than an errno's.
_MEANINGS = (
    ("Invalid ELF header magic", FailureKind.COMPRESSED, _DECOMPRESS),
    ("disagrees about version of symbol", FailureKind.WRONG_KERNEL, _OTHER_KERNEL),
    ("version magic", FailureKind.WRONG_KERNEL, _OTHER_KERNEL),
    (
        "invalid for parameter",
        FailureKind.BAD_PARAMETER,
        "it does not take one of its options",
    ),  # kernel/params.c
    ("Unknown symbol", FailureKind.UNKNOWN_SYMBOL, _NO_SYMBOL),
    ("unknown symbol", FailureKind.UNKNOWN_SYMBOL, _NO_SYMBOL),
    ("Key was rejected by service", FailureKind.SIGNATURE, _UNSIGNED),
    (
        "Required key not available",
        FailureKind.SIGNATURE,
        "it is signed with a key that this kernel does not know",
    ),
    (
        "unsigned module loading is restricted",  # security/security.c, lockdown_reasons
        FailureKind.LOCKDOWN,
        "the kernel is locked down and takes no module without a signature that it can check",
    ),
    # busybox names the file it could not load
    (".ko.gz", FailureKind.COMPRESSED, _DECOMPRESS),
    (".ko.xz", FailureKind.COMPRESSED, _DECOMPRESS),
    (".ko.zst", FailureKind.COMPRESSED, _DECOMPRESS),
    ("Exec format error", FailureKind.BAD_FORMAT, _FORMAT),
    ("Invalid module format", FailureKind.BAD_FORMAT, _FORMAT),
    ("invalid module format", FailureKind.BAD_FORMAT, _FORMAT),
    ("wrong symbol version", FailureKind.WRONG_KERNEL, _OTHER_KERNEL),
    ("Cannot allocate memory", FailureKind.NO_MEMORY, "out of memory"),
    (
        "ut of memory: Killed process",  # mm/oom_kill.c
        FailureKind.NO_MEMORY,
        "the kernel was out of memory and ended modprobe",
    ),
    ("not found in directory", FailureKind.NOT_IN_IMAGE, _ABSENT),
    ("not found in modules.dep", FailureKind.NOT_IN_IMAGE, _ABSENT),
    ("No such file or directory", FailureKind.NOT_IN_IMAGE, _ABSENT),
    ("module not found", FailureKind.NOT_IN_IMAGE, _ABSENT),
)
# Lines of the kernel's that do not say whose they are: with which words of modprobe they can be, how they begin.
_NAMELESS = (
    (("Exec format error", "nvalid module format"), "Invalid ELF header magic"),  # elf_validity_check
    ((_NOT_PERMITTED,), "Lockdown: "),  # security/lockdown/lockdown.c
)
_KILLED = "ut of memory: Killed process {} "
_NO_DEVICE = ("No such device", "no such device")
_BLACKLISTED = "Module {} is blacklisted"  # kernel/module/main.c, load_module


def explain_failure(
    module: str, status: int, words: str, kernel_words: str, *, modules_disabled: bool = False
) -> LoadResult:
    """Return what became of `module`, which is not live after a modprobe ended.

    status: as waitstatus_to_exitcode gives it, negative for a signal. words: the lines of modprobe's stderr
    that speak of this module. kernel_words: the kernel's own lines about it, from /dev/kmsg. modules_disabled: what
    /proc/sys/kernel/modules_disabled says.
    """
    if any(needle in words for needle in _NO_DEVICE):
        return LoadResult(Outcome.NODEVICE, "its init found no device to drive (ENODEV)")
    said = "; ".join(part for part in (kernel_words, words) if part)
    if _BLACKLISTED.format(module) in kernel_words:
        message = f"module_blacklist= on the kernel's command line forbids it ({said})"
        return LoadResult(Outcome.DENIED, message, FailureKind.MODULE_BLACKLIST)
    for needle, kind, meaning in _MEANINGS:
        if needle in said:
            return failed(kind, f"{meaning} ({said})")
    if is_not_permitted(words) and modules_disabled:
        meaning = "the kernel takes no more modules until it is booted again: kernel.modules_disabled is set"
        return failed(FailureKind.MODULES_DISABLED, f"{meaning} ({said})")
    if is_not_permitted(words):
        meaning = "the kernel does not permit it: modprobe lacks CAP_SYS_MODULE, or a security module refuses"
        return failed(FailureKind.NOT_PERMITTED, f"{meaning} ({said})")
    if status < 0:
        message = f"modprobe was ended by signal {-status}"
        return failed(FailureKind.KILLED, f"{message} ({said})" if said else message)
    if said:
        return failed(FailureKind.UNKNOWN, said)
    return failed(
        FailureKind.UNKNOWN, f"modprobe ended with status {status} and said nothing; {module} is not live"
    )


def failed(kind: FailureKind, message: str) -> LoadResult:
    """Return the result of a load that failed."""
    return LoadResult(Outcome.FAILED, message, kind)


def lacking(need: str, result: LoadResult) -> LoadResult:
    """Return the result of a load that failed because a module that it needs, `need`, had this result."""
    why = result.message or result.outcome.value
    message = f"it needs {need}, which is {result.outcome.value}: {why}"
    return LoadResult(Outcome.FAILED, message, FailureKind.DEPENDENCY, need)


def is_not_permitted(words: str) -> bool:
    """Return whether modprobe's words tell of EPERM; then /proc/sys/kernel/modules_disabled is worth a look."""
    return _NOT_PERMITTED in words


def lines_about(module: str, text: str) -> str:
    """Return the lines of `text` that name the module, in either spelling, joined by `; `."""
    spellings = (module, module.replace("_", "-"))
    found = [line.strip() for line in text.splitlines() if any(s in line for s in spellings)]
    return "; ".join(found)


def kernel_lines_about(module: str, pid: int, lines: list[str], words: str) -> str:
    """Return the kernel's lines about a module's failure, or about the end of the modprobe that was process `pid`.

    modprobe's words tell which nameless ones can be.
    """
    killed = [line for line in lines if _KILLED.format(pid) in line]
    if killed:
        return killed[-1]
    named = lines_about(module, "\n".join(lines))
    if named:
        return named
    for needles, beginning in _NAMELESS:
        if any(needle in words for needle in needles):
            nameless = [line for line in lines if line.startswith(beginning)]
            return nameless[-1] if nameless else ""
    return ""
