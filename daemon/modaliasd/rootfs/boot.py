"""`modaliasd root`: from the command line's words to a mounted root file system, and what is left to the first process.

/init runs it (rootfs-overlay/usr/lib/micro/root), and reads from HANDOVER what it shall do then. With --run this
process is the daemon's, too: it splits in two before anything is open, so that one interpreter's start is enough.
"""

from __future__ import annotations

import posix
from _socket import AF_UNIX, SOCK_STREAM, socketpair
from _socket import socket as RawSocket

from modaliasd.core.errors import WorldError
from modaliasd.core.root.words import By, parse_root
from modaliasd.core.settings import parse_settings
from modaliasd.linux.config import read_command_line
from modaliasd.linux.paths import RUN_DIRECTORY
from modaliasd.linux.process import split
from modaliasd.linux.root.blockdev import BlockDevices
from modaliasd.linux.root.newroot import USUAL, why_not_init
from modaliasd.linux.root.shares import tags
from modaliasd.rootfs.daemon import Daemon, NoDaemon
from modaliasd.rootfs.find import Finder
from modaliasd.rootfs.mount import NEW_ROOT, Mounter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from modaliasd.core.root.target import BlockDevice
    from modaliasd.core.root.words import RootWords
    from modaliasd.core.settings import Settings
    from modaliasd.rootfs.assemble import Members
    from modaliasd.rootfs.find import Waited
    from modaliasd.rootfs.mount import Refusal

HANDOVER = f"{RUN_DIRECTORY}/handover"  # three lines: the first process, `end` or `stay`, the daemon's number
LOST = f"{RUN_DIRECTORY}/root-lost"  # the exit status that the boot shall have
FOUND_AND_ENOUGH = 3  # modaliasd.poweroff=settled: nothing is to be started from it
SIGQUIT, SIGTERM = 3, 15


def boot(*, run: bool) -> int:
    """Find and mount the root file system; 0 if it is there, 3 if it is and the machine shall end.

    run: be the daemon, too, in a process of its own.
    """
    if not run:
        return Attempt(Daemon(), 0).make()
    if parse_settings(read_command_line()).off:
        return Attempt(NoDaemon(), 0).make()
    ours, theirs = socketpair(AF_UNIX, SOCK_STREAM)
    pid = split()
    if pid == 0:
        ours.close()
        return _serve(theirs)
    theirs.close()
    try:
        return Attempt(Daemon(RawSocket(fileno=ours.detach())), pid).make()
    except BaseException:
        _write(LOST, f"{WorldError.exit_status}\n")
        posix.kill(pid, SIGTERM)  # init's is the next
        raise


def start_again() -> int:
    """Have busybox init run its `restart`, which is the same once more, as the first process."""
    posix.kill(1, SIGQUIT)
    return 0


def _serve(client: RawSocket) -> int:
    import gc

    gc.disable()
    from modaliasd.service.boot import serve

    try:
        return serve(once=False, client=RawSocket(fileno=client.detach()))
    except Exception as e:  # noqa: BLE001 - whatever it is, people get a line and not a traceback
        from modaliasd.failure import report

        return report("run", e)


class Attempt:
    """One search. pid: of the daemon that was begun for it, 0 if it runs anyway."""

    def __init__(self, daemon: Daemon, pid: int) -> None:
        self._line = read_command_line()
        self.settings: Settings = parse_settings(self._line)
        self.words: RootWords = parse_root(self._line)
        self.daemon = daemon
        self.pid = pid
        self.devices = BlockDevices()
        self.mounter = Mounter(self.words, daemon)
        self.refusal: Refusal | None = None
        self._members: Members | None = None

    def make(self) -> int:
        """Return 0 once the root file system is mounted; else its loss has been told."""
        if self.words.target is None:
            return self._lose(None, None)
        finder = Finder(
            self.words,
            self.daemon,
            self.devices,
            assemble=self._assemble,
            last=self._open_last,
            share=self._share,
            pause=self._say_that_it_waits,
        )
        waited = finder.wait()
        device = waited.device
        if device is None:
            return self._lose(waited, None)
        if not waited.shared:
            if not self.words.types and (device.holds is None or not device.holds.mountable):
                return self._lose(waited, device)
            self.refusal = self.mounter.mount(device, waited.others)
            if self.refusal is not None:
                return self._lose(waited, device)
        init, why = self._init()
        if why:
            return self._lose(waited, device, init=init, why=why)
        return self._win(device, init)

    def _say_that_it_waits(self, waited: Waited) -> None:
        self._report(waited, None, outcome="waiting")

    def _share(self) -> bool:
        """Mount a directory of the host's, if it is there."""
        target = self.words.target
        assert target is not None
        there = [tag for system, tag in tags() if system == target.system]
        if not there or (all(there) and target.value not in there):
            return False
        self.refusal = self.mounter.mount_share(target.value, target.system)
        return self.refusal is None

    def _assemble(self, device: BlockDevice) -> None:
        """Open what lies on a member of an array, a volume group, or is encrypted, where the image has the tools."""
        from modaliasd.core.root.members import MEMBERS

        if device.holds is None or device.holds.type not in MEMBERS:
            return
        if self._members is None:
            from modaliasd.rootfs.assemble import Members

            people = not self.settings.poweroff
            self._members = Members(self.daemon, self.devices, self._line, people=people)
        self._members.came(device)

    def _open_last(self, known: tuple[BlockDevice, ...]) -> bool:
        return self._members is not None and self._members.last(known)

    def _init(self) -> tuple[str, str]:
        """Return the first process of the new root, and why it cannot be that; "" if it can."""
        if self.words.init:
            return self.words.init, why_not_init(NEW_ROOT, self.words.init)
        whys = [(path, why_not_init(NEW_ROOT, path)) for path in USUAL[:1]]
        if whys[0][1]:
            whys += [(path, why_not_init(NEW_ROOT, path)) for path in USUAL[1:]]
        for path, why in whys:
            if not why:
                return path, ""
        there = [pair for pair in whys if pair[1] != "it is not there"]
        return (there or whys)[0]

    def _win(self, device: BlockDevice, init: str) -> int:
        kind = device.holds.type if device.holds is not None else ",".join(self.words.types)
        target = self.words.target
        if target is not None and target.by is By.TAG:
            kind = target.system
        leave = not (self.settings.root_stays or self.settings.poweroff)
        self.daemon.tell(
            "mounted",
            leave=leave,
            root=str(target),
            device=device.node,
            fstype=kind,
            init=init,
            fsck=self.mounter.checked,
        )
        if self.settings.poweroff:
            return FOUND_AND_ENOUGH
        how = "stay" if self.settings.root_stays else "end"
        _write(HANDOVER, f"{init}\n{how}\n{self.pid}\n")
        return 0

    def _lose(
        self, waited: Waited | None, device: BlockDevice | None, *, init: str = "", why: str = ""
    ) -> int:
        status = self._report(waited, device, init=init, why=why)
        _write(LOST, f"{status}\n")
        if self.pid:
            posix.kill(self.pid, SIGTERM)  # init starts another, which goes on where this one was
        return 1

    def _report(
        self,
        waited: Waited | None,
        device: BlockDevice | None,
        *,
        init: str = "",
        why: str = "",
        outcome: str = "lost",
    ) -> int:
        """Tell people and the ledger what has become of it; the boot's exit status."""
        from modaliasd.rootfs.report import report

        try:
            return report(
                self.words,
                waited,
                device,
                devices=self.devices,
                refusal=self.refusal,
                fates=self._members.fates() if self._members is not None else (),
                daemon=self.daemon,
                init=init,
                why=why,
                outcome=outcome,
            )
        except WorldError as e:
            _say(f"<3>modaliasd: root: {e}\n")
            return WorldError.exit_status


def _say(line: str) -> None:
    _write("/dev/kmsg", line)


def _write(path: str, text: str) -> None:
    """Write the file; where that cannot be done, whoever wants to read it finds nothing, and says so."""
    try:
        descriptor = posix.open(path, posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC | posix.O_CLOEXEC, 0o644)
    except OSError:
        return
    try:
        posix.write(descriptor, text.encode("utf-8", "surrogateescape"))
    except OSError:
        return
    finally:
        posix.close(descriptor)
