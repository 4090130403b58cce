"""virtiofsd(1): serves a folder of this machine's to a guest, by vhost-user over a socket.

There are two: QEMU's own in C (up to 7.2, Debian 12), and the one in Rust that took its place. Both take a socket
on which somebody listens already (--fd), so that nothing has to be waited for, and both confine themselves to the
folder by chroot(2). Who is not root is given that privilege in a user namespace, which has their own id and no other.
"""

import os
import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from hostbuild.beside.process import Beside, beside
from hostbuild.errors import CommandError
from hostbuild.fs.scratch import scratch_directory
from hostbuild.run import find_program, run

# In PATH, if somebody put it there; Debian 13, Fedora; Arch; Debian 12's qemu-system-common.
_PLACES = ("virtiofsd", "/usr/libexec/virtiofsd", "/usr/lib/virtiofsd", "/usr/lib/qemu/virtiofsd")
_ASK_S = 10.0
# A message of vhost-user (docs/interop/vhost-user.rst): request, flags (version 1; 4: a reply), size of what follows.
_HEADER = struct.Struct("=III")
_GET_FEATURES, _VERSION, _REPLY = 1, 1, 4


@dataclass(frozen=True, slots=True)
class Virtiofsd:
    """An installed virtiofsd. rust: its options are those of the newer one. read_only: it can refuse all writing."""

    program: str
    rust: bool
    read_only: bool


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder to be served, and the socket that QEMU asks for it."""

    directory: Path
    socket: Path
    read_only: bool = False


def find_virtiofsd() -> Virtiofsd | None:
    """Find the program and what it can; None where there is none that runs."""
    program = next(filter(None, map(find_program, _PLACES)), None)
    if program is None:
        return None
    try:
        told = run([program, "--help"], timeout=_ASK_S).stdout.decode("utf-8", "replace")
    except CommandError:
        return None
    return Virtiofsd(program, rust="--shared-dir" in told, read_only="--readonly" in told)


def virtiofsd_argv(virtiofsd: Virtiofsd, folder: Folder, listening: int) -> list[str]:
    """Return its command line. listening: the descriptor of its socket."""
    argv = [virtiofsd.program, f"--fd={listening}"]
    if virtiofsd.rust:
        argv += [f"--shared-dir={folder.directory}", "--sandbox=chroot"]
        return [*argv, *(["--readonly"] if folder.read_only else [])]
    path = str(folder.directory).replace("\\", "\\\\").replace(",", "\\,")  # libfuse's way with its -o
    return [*argv, "-o", f"source={path}", "-o", "sandbox=chroot"]


def why_not(virtiofsd: Virtiofsd, directory: Path) -> str:
    """Say why it cannot serve a folder here, "" where it can: it is started, and asked what it can do."""
    with scratch_directory() as scratch:
        folder = Folder(directory, scratch / "probe.sock")
        with serving(virtiofsd, [folder]) as [one], socket.socket(socket.AF_UNIX) as line:
            line.settimeout(_ASK_S)
            try:
                line.connect(str(folder.socket))
                line.sendall(_HEADER.pack(_GET_FEATURES, _VERSION, 0))
                answer = line.recv(_HEADER.size)
            except OSError:
                answer = b""
            if len(answer) == _HEADER.size and _HEADER.unpack(answer)[:2] == (
                _GET_FEATURES,
                _VERSION | _REPLY,
            ):
                return ""
            return f"virtiofsd does not run here: {one.words.splitlines()[-1]}"


@contextmanager
def serving(virtiofsd: Virtiofsd | None, folders: Iterable[Folder]) -> Iterator[list[Beside]]:
    """Start one for each folder; they end with the context, or when QEMU lets go of the socket.

    virtiofsd: None looks for it, if there are folders. Raises ToolMissingError where it is not installed.
    """
    with ExitStack() as stack:
        started = []
        for folder in folders:
            virtiofsd = virtiofsd or find_virtiofsd() or Virtiofsd("virtiofsd", rust=True, read_only=True)
            with socket.socket(
                socket.AF_UNIX
            ) as listening:  # ours is closed: once it has ended, nobody listens
                listening.bind(str(folder.socket))
                listening.listen(1)
                argv = virtiofsd_argv(virtiofsd, folder, listening.fileno())
                before = [] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--"]
                context = beside(
                    argv, folder.socket.with_suffix(".log"), before=before, pass_fds=[listening.fileno()]
                )
                started.append(stack.enter_context(context))
        yield started
