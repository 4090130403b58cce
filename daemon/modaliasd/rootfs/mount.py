"""Mounts what was found: its file system's module through the daemon, a check, the mount, a tmpfs over it if asked."""

from __future__ import annotations

import posix

from modaliasd.core.errors import WorldError
from modaliasd.core.fasttypes import Enum, NamedTuple
from modaliasd.core.root.superblock import BOOTABLE
from modaliasd.linux.kmsg import KernelLog
from modaliasd.linux.process import Ended
from modaliasd.linux.root.blockdev import read_text
from modaliasd.linux.root.programs import find_program, run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from modaliasd.core.root.target import BlockDevice
    from modaliasd.core.root.words import RootWords
    from modaliasd.rootfs.daemon import Daemon

NEW_ROOT = "/sysroot"
OVERLAY = "/run/rootovl"  # lower, upper and work below it; they go along in /run
MOUNT = "/bin/mount"
# fsck(8), exit status: 2, that the machine is to be booted again, is not for what is not mounted yet
_REPAIRED, _LEFT = (1, 2, 3), 4
_MODULES = {"9p": ("9p", "9pnet_virtio")}


class Stage(Enum):
    """What could not be done."""

    MODULE = "module"  # the kernel does not know the file system
    CHECK = "fsck"
    MOUNT = "mount"
    OVERLAY = "overlay"


class Refusal(NamedTuple):
    """Why it is not mounted. types: the file systems that were tried. words: what was said, the kernel's first.

    modules: those that bring the file system.
    """

    stage: Stage
    types: tuple[str, ...]
    words: str = ""
    modules: tuple[str, ...] = ()


class Mounter:
    """Mounts at NEW_ROOT; what a daemon loads is loaded once. checked: what fsck did, "" for nothing."""

    def __init__(self, words: RootWords, daemon: Daemon) -> None:
        self._words = words
        self._daemon = daemon
        self._log = KernelLog()
        self.checked = ""

    def mount(self, device: BlockDevice, others: tuple[BlockDevice, ...]) -> Refusal | None:
        """Mount the device; None once it is done."""
        holds = device.holds
        types = self._words.types or ((holds.type,) if holds is not None else ())
        known = [kind for kind in types if self.has_file_system(kind)]
        if not known:
            return Refusal(Stage.MODULE, types, modules=tuple(m for kind in types for m in modules_of(kind)))
        if holds is not None and self._is_to_be_checked() and (refusal := self._check(device, holds.type)):
            return refusal
        flags = [self._words.flags] if self._words.flags else []
        if holds is not None and holds.parts > 1:
            flags += [f"device={one.node}" for one in (device, *others)]
        return self._mount(device.node, known, flags)

    def mount_share(self, tag: str, system: str) -> Refusal | None:
        """Mount a directory of the host's."""
        if not self.has_file_system(system):
            return Refusal(Stage.MODULE, (system,), modules=modules_of(system))
        flags = [self._words.flags] if self._words.flags else []
        if system == "9p" and "trans=" not in self._words.flags:
            flags.append("trans=virtio")
        if system == "9p" and "version=" not in self._words.flags:
            flags.append("version=9p2000.L")
        return self._mount(tag, [system], flags)

    def has_file_system(self, kind: str) -> bool:
        """Return whether the kernel can mount it; its modules are loaded if need be."""
        if self._is_known(kind):
            return True
        try:
            self._daemon.ask("need", *modules_of(kind))
        except WorldError:
            return False
        return self._is_known(kind)

    def _is_known(self, kind: str) -> bool:
        return kind in read_text("/proc/filesystems").split()

    def _mount(self, source: str, types: list[str], flags: list[str]) -> Refusal | None:
        overlay = self._words.overlay
        place = f"{OVERLAY}/lower" if overlay else NEW_ROOT
        if overlay and (refusal := self._prepare_overlay()):
            return refusal
        _make_directories(place)
        mode = "rw" if self._words.writable and not overlay else "ro"
        words = ""
        for kind in types:
            self._log.lines()  # from here on
            before = len(self._log.lines())
            ended = run(MOUNT, "-t", kind, "-o", ",".join([mode, *flags]), source, place)
            if ended.status == 0:
                return self._lay_over() if overlay else None
            said = [line for line in self._log.lines()[before:] if kind in line.lower() or "VFS" in line]
            words = "; ".join([*said[-4:], ended.words.strip()])
        return Refusal(Stage.MOUNT, tuple(types), words)

    def _is_to_be_checked(self) -> bool:
        """Tell whether fsck may run: it writes, and below an overlay nothing is to be written."""
        mode = self._words.fsck
        return mode == "force" or (mode == "auto" and not self._words.overlay)

    def _check(self, device: BlockDevice, kind: str) -> Refusal | None:
        """Have fsck repair what it may without a person. What is no error of the file system's stops nobody."""
        name = f"fsck.{kind}"
        program = find_program(name)
        if not program:
            return None
        # of fsck.fat -f means something else, and it always looks at everything
        force = ["-f"] if self._words.fsck == "force" and kind != "vfat" else []
        try:
            ended = run(
                program, *force, "-a", device.node, slow=lambda: _tell(f"{name} checks {device.node} ...")
            )
        except OSError as e:
            ended = Ended(-1, e.strerror or str(e))
        said = "; ".join(line.strip() for line in ended.words.splitlines() if line.strip())
        if ended.status > 0 and ended.status & _LEFT:
            return Refusal(Stage.CHECK, (kind,), said)
        if ended.status in _REPAIRED:
            self.checked = f"{name} corrected errors: {said}"
        elif ended.status:
            how = f"ended with {ended.status}" if ended.status > 0 else f"was ended by signal {-ended.status}"
            self.checked = f"{name} {how}, and checked nothing: {said}"
        if self.checked:
            _tell(f"{device.node}: {self.checked}")
        return None

    def _prepare_overlay(self) -> Refusal | None:
        if not self.has_file_system("overlay"):
            return Refusal(Stage.MODULE, ("overlay",), modules=("overlay",))
        _make_directories(OVERLAY)
        ended = run(MOUNT, "-t", "tmpfs", "-o", "mode=0755", "rootovl", OVERLAY)
        if ended.status != 0:
            return Refusal(Stage.OVERLAY, ("tmpfs",), ended.words.strip())
        for name in ("lower", "upper", "work"):
            _make_directories(f"{OVERLAY}/{name}")
        return None

    def _lay_over(self) -> Refusal | None:
        _make_directories(NEW_ROOT)
        places = f"lowerdir={OVERLAY}/lower,upperdir={OVERLAY}/upper,workdir={OVERLAY}/work"
        ended = run(MOUNT, "-t", "overlay", "-o", places, "rootovl", NEW_ROOT)
        return Refusal(Stage.OVERLAY, ("overlay",), ended.words.strip()) if ended.status != 0 else None


def _tell(line: str) -> None:
    """Say it on every console; most boots have nothing to say."""
    from modaliasd.core.printable import printable
    from modaliasd.linux.root.consoles import show

    show([printable(line)])


def modules_of(kind: str) -> tuple[str, ...]:
    """Return the modules that bring a file system."""
    return _MODULES.get(kind) or (BOOTABLE.get(kind, kind),)


def _make_directories(path: str) -> None:
    made = ""
    for part in path.strip("/").split("/"):
        made += f"/{part}"
        try:
            posix.mkdir(made, 0o755)
        except FileExistsError:
            continue
