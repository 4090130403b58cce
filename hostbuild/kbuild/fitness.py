"""Is a kernel fit for make-image and modaliasd: what its configuration must have, why, and the fix.

The requirements are a table; guest.fragment, and that of the architecture, turn on the same options for a kernel that
is yet to be built.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from hostbuild.arch import Arch
from hostbuild.formats.kconfig import Config, value_of


class Grade(Enum):
    """What a requirement that is not met means."""

    UNFIT = "unfit"  # a guest does not boot, or its daemon does not work
    LIMIT = "limit"  # a guest works, and something in it does not
    NOTE = "note"  # worth knowing; nothing to fix


@dataclass(frozen=True, slots=True)
class Requirement:
    """One thing to look for.

    wants: the condition in words ("CONFIG_MODULES=y"). met: tests a configuration. reason: what it is for.
    fix: options to give to `kernel configure --enable`; () where there is nothing to change. arches: where it counts.
    """

    wants: str
    met: Callable[[Config], bool]
    grade: Grade
    reason: str
    fix: tuple[str, ...] = ()
    arches: tuple[Arch, ...] = tuple(Arch)


@dataclass(frozen=True, slots=True)
class Finding:
    """A requirement, and whether a certain configuration meets it."""

    requirement: Requirement
    met: bool


def check(config: Config, arch: Arch | None = None) -> tuple[Finding, ...]:
    """Test a configuration against every requirement of its architecture, in the table's order; None is amd64."""
    arch = arch or Arch.AMD64
    return tuple(Finding(one, one.met(config)) for one in REQUIREMENTS if arch in one.arches)


def is_fit(findings: tuple[Finding, ...]) -> bool:
    """Return whether a guest can boot with this kernel and its daemon can work."""
    return all(finding.met or finding.requirement.grade is not Grade.UNFIT for finding in findings)


def _built_in(grade: Grade, option: str, reason: str, *arches: Arch) -> Requirement:
    return Requirement(
        f"CONFIG_{option}=y",
        lambda config: value_of(config, option) == "y",
        grade,
        reason,
        (f"{option}=y",),
        arches or tuple(Arch),
    )


def _one_of(grade: Grade, options: tuple[str, ...], reason: str, fix: str) -> Requirement:
    return Requirement(
        " or ".join(f"CONFIG_{option}=y" for option in options),
        lambda config: any(value_of(config, option) == "y" for option in options),
        grade,
        reason,
        (f"{fix}=y",),
    )


def _off(grade: Grade, option: str, reason: str) -> Requirement:
    return Requirement(
        f"CONFIG_{option} off",
        lambda config: value_of(config, option) in ("n", '""'),
        grade,
        reason,
        (f"{option}=n",),
    )


_COMPRESSED = (
    "modules_install compresses them; make-image unpacks them again, since busybox's modprobe cannot read them "
    "(by hand it would say: Invalid ELF header magic)"
)

_BOARDS = (Arch.ARM64, Arch.RISCV64)  # what QEMU has no PC of, but a board with a device tree
_MODPROBES = ('"/sbin/modprobe"', '"/usr/sbin/modprobe"')  # one place in the image

REQUIREMENTS = (
    _built_in(Grade.UNFIT, "BLK_DEV_INITRD", "the image is an initramfs"),
    _one_of(
        Grade.LIMIT,
        ("RD_ZSTD", "RD_XZ", "RD_LZ4", "RD_GZIP"),
        "without a decompressor only an uncompressed image boots (make-image --compress none)",
        "RD_ZSTD",
    ),
    _built_in(Grade.NOTE, "RD_ZSTD", "images packed with zstd, the quickest to unpack for their size"),
    _built_in(Grade.NOTE, "RD_XZ", "images packed with xz, the smallest"),
    _built_in(Grade.NOTE, "RD_LZ4", "images packed with lz4"),
    _built_in(Grade.NOTE, "RD_GZIP", "images packed with gzip"),
    _built_in(Grade.UNFIT, "BINFMT_ELF", "the image's programs are ELF files"),
    _built_in(
        Grade.UNFIT, "BINFMT_SCRIPT", "/init is a shell script; else: Failed to execute /init (error -8)"
    ),
    _one_of(Grade.UNFIT, ("64BIT", "ARM64", "RISCV"), "busybox and CPython of the image are 64-bit", "64BIT"),
    _built_in(Grade.UNFIT, "MODULES", "loading modules is what the daemon is for"),
    _built_in(Grade.LIMIT, "MODULE_UNLOAD", "rmmod and modprobe -r"),
    _off(
        Grade.LIMIT,
        "MODULE_SIG_FORCE",
        "modules without a valid signature are refused: those of other builds, and all that were stripped",
    ),
    _off(Grade.LIMIT, "LOCK_DOWN_KERNEL_FORCE_INTEGRITY", "lockdown refuses unsigned modules"),
    _off(Grade.LIMIT, "LOCK_DOWN_KERNEL_FORCE_CONFIDENTIALITY", "lockdown refuses unsigned modules"),
    Requirement(
        "modules installed plain (until 6.11: CONFIG_MODULE_COMPRESS_NONE=y)",
        lambda config: "MODULE_COMPRESS" in config or not compressed_modules(config),
        Grade.NOTE,
        _COMPRESSED,
        ("MODULE_COMPRESS_NONE=y",),
    ),
    Requirement(
        "modules installed plain (since 6.12: CONFIG_MODULE_COMPRESS off)",
        lambda config: "MODULE_COMPRESS" not in config or not compressed_modules(config),
        Grade.NOTE,
        _COMPRESSED,
        ("MODULE_COMPRESS=n",),
    ),
    Requirement(
        "CONFIG_MODULE_DECOMPRESS=y",
        lambda config: value_of(config, "MODULE_DECOMPRESS") == "y",
        Grade.NOTE,
        "with it the kernel can unpack compressed modules for a modprobe that asks it to (kmod since 31); busybox's "
        "does not ask, and kmod unpacks them without it",
    ),
    _built_in(Grade.UNFIT, "SYSFS", "the daemon finds devices and their modaliases in /sys"),
    _built_in(Grade.UNFIT, "PROC_FS", "/proc/modules and /proc/cmdline"),
    _built_in(Grade.LIMIT, "PROC_SYSCTL", "/proc/sys"),
    _built_in(Grade.UNFIT, "DEVTMPFS", "device nodes; there is no mknod in the image"),
    _built_in(Grade.UNFIT, "TMPFS", "/run, where the daemon's socket and ledger are"),
    _built_in(Grade.LIMIT, "SHMEM", "files in memory that obey a size limit"),
    _built_in(Grade.UNFIT, "NET", "uevents come by netlink, which is part of networking"),
    _built_in(Grade.UNFIT, "UNIX", "the daemon's control socket: modaliasd settle, why, status"),
    _built_in(Grade.LIMIT, "INET", "addresses for network interfaces"),
    Requirement(
        "CONFIG_PACKET=y or m",
        lambda config: value_of(config, "PACKET") in ("y", "m"),
        Grade.LIMIT,
        "DHCP uses packet sockets",
        ("PACKET=y",),
    ),
    _built_in(Grade.UNFIT, "FUTEX", "CPython's locks"),
    _built_in(
        Grade.LIMIT, "EPOLL", "programs that wait by epoll, as asyncio does; the daemon needs poll alone"
    ),
    _built_in(Grade.NOTE, "SIGNALFD", "signals as descriptors"),
    _built_in(Grade.LIMIT, "TIMERFD", "timers as descriptors"),
    _built_in(Grade.LIMIT, "EVENTFD", "wake-ups between threads"),
    _built_in(Grade.LIMIT, "POSIX_TIMERS", "timer_create and clock_nanosleep"),
    _built_in(Grade.LIMIT, "FILE_LOCKING", "flock and fcntl locks"),
    _built_in(Grade.LIMIT, "MULTIUSER", "users other than root"),
    _off(
        Grade.LIMIT,
        "UEVENT_HELPER_PATH",
        "the kernel starts that program for every uevent, beside the daemon",
    ),
    _off(
        Grade.LIMIT,
        "FW_LOADER_USER_HELPER_FALLBACK",
        "for a missing firmware file the kernel waits a minute for a program that writes it to /sys/class/firmware, "
        "and there is none in the image: such a driver's load takes 60 s, and the boot settles after that",
    ),
    _off(
        Grade.LIMIT,
        "STATIC_USERMODEHELPER",
        "the kernel starts CONFIG_STATIC_USERMODEHELPER_PATH only, whatever /proc/sys/kernel/modprobe says: "
        "what it asks for by itself (file systems, protocols, ciphers, a node's module) is not loaded; devices' are",
    ),
    Requirement(
        'CONFIG_MODPROBE_PATH="/sbin/modprobe"',
        lambda config: value_of(config, "MODPROBE_PATH") in ("n", '""', *_MODPROBES),
        Grade.NOTE,
        "the kernel calls another program for modules until /init has written its own to /proc/sys/kernel/modprobe",
        ('MODPROBE_PATH="/sbin/modprobe"',),
    ),
    _built_in(Grade.LIMIT, "PRINTK", "without the kernel's messages a guest that fails says nothing"),
    *(
        _built_in(Grade.LIMIT, option, f"console={console}: hostbuild run reads it", *arches)
        for option, console, arches in (
            ("SERIAL_8250_CONSOLE", "ttyS0", (Arch.AMD64, Arch.RISCV64)),
            ("SERIAL_OF_PLATFORM", "ttyS0", (Arch.RISCV64,)),
            ("SERIAL_AMBA_PL011_CONSOLE", "ttyAMA0", (Arch.ARM64,)),
        )
    ),
    _built_in(
        Grade.LIMIT,
        "SERIAL_8250_PCI",
        "the ledger and the agent have UARTs of a PCI card, since QEMU's board has one only",
        *_BOARDS,
    ),
    _built_in(Grade.UNFIT, "MMU", "the image's programs have virtual memory", Arch.RISCV64),
    _built_in(Grade.UNFIT, "FPU", "the image's programs compute with doubles", Arch.RISCV64),
    _built_in(Grade.LIMIT, "PCI", "nearly every emulated device is a PCI device"),
    _built_in(Grade.LIMIT, "PCI_HOST_GENERIC", "the PCI Express host bridge of QEMU's board", *_BOARDS),
    _one_of(Grade.LIMIT, ("ACPI", "OF"), "interrupt routing and power off", "ACPI"),
    _one_of(
        Grade.LIMIT,
        ("HOTPLUG_PCI_PCIE", "HOTPLUG_PCI_ACPI"),
        "PCI devices that are plugged in while the guest runs",
        "HOTPLUG_PCI_PCIE",
    ),
    _built_in(Grade.NOTE, "DMI", "the dmi: modalias of the machine", Arch.AMD64),
    _built_in(Grade.LIMIT, "BLOCK", "disks"),
    _built_in(Grade.NOTE, "IKCONFIG", "the configuration inside the kernel, for this very check"),
)


def compressed_modules(config: Config) -> str:
    """Return how modules_install packs modules: "gzip", "xz", "zstd", or "" if it does not.

    Until 6.11 one of four options is chosen (MODULE_COMPRESS_NONE among them), since 6.12 MODULE_COMPRESS
    stands above the three.
    """
    if "MODULE_COMPRESS" in config and value_of(config, "MODULE_COMPRESS_ALL") == "n":
        return ""  # since 6.12 modules may be readable when compressed and yet be installed plain
    for name in ("GZIP", "XZ", "ZSTD"):
        if value_of(config, f"MODULE_COMPRESS_{name}") == "y":
            return name.lower()
    return ""
