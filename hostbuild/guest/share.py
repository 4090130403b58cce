"""Folders of this machine's in a guest: `--share DIR[:PLACE][:ro]`, QEMU's arguments for it, and how it is mounted.

9p over virtio (Documentation/filesystems/9p.rst): QEMU serves the files itself, as the user who runs it. The
guest's root owns, and may do, what that user may. virtiofs (Documentation/filesystems/virtiofs.rst): virtiofsd serves
them, out of the guest's memory, which is shared with it.
"""

import os
import shlex
import stat
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path, PurePosixPath

from hostbuild.errors import InputError, UsageError
from hostbuild.formats.sniff import near_files

# What the guest itself stands on: a folder mounted there, or above it, would cover it.
_GUESTS_OWN = ("/bin", "/dev", "/etc", "/init", "/lib", "/lib64", "/proc", "/run", "/sbin", "/sys", "/usr")
_MESSAGE = 1 << 18  # bytes of a message; the default of 128 KiB is half as fast (docs of QEMU's 9pfs)


class Transport(Enum):
    """What carries a folder into the guest; the value is the file system's name there."""

    NINE_P = "9p"
    VIRTIOFS = "virtiofs"

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules that the guest needs, unless its kernel has them inside."""
        return ("virtiofs",) if self is Transport.VIRTIOFS else ("9p", "9pnet_virtio")

    @property
    def options(self) -> str:
        """The kernel's options for it, in words."""
        return "VIRTIO_FS" if self is Transport.VIRTIOFS else "9P_FS and NET_9P_VIRTIO"


@dataclass(frozen=True, slots=True)
class Share:
    """A folder of this machine's, and where the guest has it."""

    directory: Path
    place: str
    read_only: bool = False
    transport: Transport = Transport.NINE_P


def parse_share(text: str) -> Share:
    """Parse DIR[:PLACE][:ro]. Raises UsageError for the form, InputError for a folder that is not there."""
    directory, *rest = text.split(":")
    read_only = bool(rest) and rest[-1] in ("ro", "rw")
    mode = rest.pop() if read_only else "rw"
    if len(rest) > 1 or not directory:
        raise UsageError(f"share {text!r}: expected DIR, DIR:ro or DIR:PLACE[:ro]")
    path = Path(os.path.abspath(Path(directory).expanduser()))
    place = rest[0] if rest else str(path)
    _require_directory(path, text)
    if not place.startswith("/"):
        raise UsageError(f"share {text!r}: {place!r} has to be an absolute path, or ro")
    return Share(path, _checked_place(place, text), read_only=mode == "ro")


def _require_directory(path: Path, text: str) -> None:
    try:
        kind = path.stat().st_mode
    except OSError as e:
        raise InputError(f"cannot share {path}: {e.strerror}{near_files(path)}") from e
    if not stat.S_ISDIR(kind):
        raise InputError(f"cannot share {text}: {path} is not a directory", hint=f"--share {path.parent}")
    if not os.access(path, os.R_OK | os.X_OK):
        raise InputError(f"cannot share {path}: Permission denied")


def _checked_place(place: str, text: str) -> str:
    clean = os.path.normpath(place)
    clean = "/" + clean.lstrip("/")
    for own in _GUESTS_OWN:
        if PurePosixPath(own).is_relative_to(clean):
            raise UsageError(
                f"share {text!r}: at {clean} it would cover what the guest runs from",
                hint=f"--share {text.partition(':')[0]}:/mnt, for example",
            )
    if clean.partition("/")[2].partition("/")[0] in ("proc", "sys", "dev"):
        raise UsageError(f"share {text!r}: nothing can be mounted in {clean} of a guest")
    if any(ord(character) < 32 for character in clean):
        raise UsageError(f"share {text!r}: a control character in the path")
    return clean


def check_places(shares: Sequence[Share]) -> None:
    """Refuse two folders at one place. Raises UsageError."""
    seen: dict[str, Share] = {}
    for share in shares:
        if share.place in seen:
            first = seen[share.place].directory
            raise UsageError(f"two folders are shared at {share.place}: {first}, {share.directory}")
        seen[share.place] = share


def share_argv(shares: Iterable[Share], directory: Path) -> list[str]:
    """Return QEMU's arguments for the folders. directory: where the sockets of those that virtiofsd serves are."""
    argv = []
    for number, share in enumerate(shares):
        if share.transport is Transport.VIRTIOFS:
            path = _escaped(socket_of(number, directory))
            argv += ["-chardev", f"socket,id=share{number},path={path}"]
            argv += ["-device", f"vhost-user-fs-pci,chardev=share{number},tag=share{number}"]
            continue
        # none: the guest's files are the user's own; what only root could do, as chown, is passed over in silence
        options = f"local,id=share{number},path={_escaped(share.directory)},security_model=none"
        argv += ["-fsdev", options + (",readonly=on" if share.read_only else "")]
        argv += ["-device", f"virtio-9p-pci,fsdev=share{number},mount_tag=share{number}"]
    return argv


def socket_of(number: int, directory: Path) -> Path:
    """Return the socket on which virtiofsd serves a folder, by its place among the shares."""
    return directory / f"share{number}.sock"


def _escaped(path: Path) -> str:
    return str(path).replace(",", ",,")


def missing_modules(transport: Transport, have: Collection[str]) -> list[str]:
    """Return the modules that an image lacks for shares. have: those that it has, and those inside its kernel."""
    return [name for name in transport.modules if name not in have]


def mount_script(shares: Sequence[Share]) -> str:
    """Return a shell's script that mounts the folders; the first that fails is named, and ends it."""
    lines = ["set -e"]
    for share in sorted(shares, key=lambda one: len(PurePosixPath(one.place).parts)):
        tag = f"share{shares.index(share)}"
        place = shlex.quote(share.place)
        options = "ro" if share.read_only else "rw"
        if share.transport is Transport.NINE_P:
            options = f"trans=virtio,version=9p2000.L,msize={_MESSAGE},{options}"
        lines += [f"mkdir -p {place}", f"mount -t {share.transport.value} -o {options} {tag} {place}"]
    return "\n".join(lines)


def directory_in(shares: Iterable[Share], here: Path) -> str:
    """Return where the guest has the folder `here` of this machine's; "" where it has it not."""
    for share in shares:
        if here.is_relative_to(share.directory):
            return str(PurePosixPath(share.place, here.relative_to(share.directory)))
    return ""
