"""Folders of this machine's in a guest: `--share DIR[:PLACE][:ro]`, QEMU's arguments for it, and how it is mounted.

9p over virtio (Documentation/filesystems/9p.rst): QEMU serves the files itself, as the user who runs it. The
guest's root owns, and may do, what that user may.
"""

import os
import shlex
import stat
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hostbuild.errors import InputError, UsageError
from hostbuild.formats.sniff import near_files

# What the guest itself stands on: a folder mounted there, or above it, would cover it.
_GUESTS_OWN = ("/bin", "/dev", "/etc", "/init", "/lib", "/lib64", "/proc", "/run", "/sbin", "/sys", "/usr")
MODULES = ("9p", "9pnet_virtio")
_MESSAGE = 1 << 18  # bytes of a message; the default of 128 KiB is half as fast (docs of QEMU's 9pfs)


@dataclass(frozen=True, slots=True)
class Share:
    """A folder of this machine's, and where the guest has it."""

    directory: Path
    place: str
    read_only: bool = False


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


def share_argv(shares: Iterable[Share]) -> list[str]:
    """Return QEMU's arguments for the folders."""
    argv = []
    for number, share in enumerate(shares):
        path = str(share.directory).replace(",", ",,")
        # none: the guest's files are the user's own; what only root could do, as chown, is passed over in silence
        options = f"local,id=share{number},path={path},security_model=none"
        argv += ["-fsdev", options + (",readonly=on" if share.read_only else "")]
        argv += ["-device", f"virtio-9p-pci,fsdev=share{number},mount_tag=share{number}"]
    return argv


def missing_modules(have: Collection[str], builtin: Collection[str]) -> list[str]:
    """Return the modules that an image lacks for shares."""
    return [name for name in MODULES if name not in have and name not in builtin]


def mount_script(shares: Sequence[Share]) -> str:
    """Return a shell's script that mounts the folders; the first that fails is named, and ends it."""
    lines = ["set -e"]
    for share in sorted(shares, key=lambda one: len(PurePosixPath(one.place).parts)):
        tag = f"share{shares.index(share)}"
        place = shlex.quote(share.place)
        options = f"trans=virtio,version=9p2000.L,msize={_MESSAGE},{'ro' if share.read_only else 'rw'}"
        lines += [f"mkdir -p {place}", f"mount -t 9p -o {options} {tag} {place}"]
    return "\n".join(lines)


def directory_in(shares: Iterable[Share], here: Path) -> str:
    """Return where the guest has the folder `here` of this machine's; "" where it has it not."""
    for share in shares:
        if here.is_relative_to(share.directory):
            return str(PurePosixPath(share.place, here.relative_to(share.directory)))
    return ""
