"""Running guests by name: where what is known of each lies, and whether it still lives.

    $XDG_RUNTIME_DIR/hostbuild/guests/      or, where that is not set, ~/.cache/hostbuild/guests/
        NAME.lock                           held (flock) by the guest's keeper as long as that lives; never removed
        NAME/socket                         where the keeper is asked
             guest.json                     what was booted, and since when
             console.log  ledger.jsonl      what came over these lines
             keeper.log                     what the keeper itself had to say
             ended.json                     how it ended, once it has

A keeper that was killed leaves its lock free, and QEMU goes with it (prctl(2), PR_SET_PDEATHSIG).
"""

import fcntl
import json
import os
import re
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hostbuild.debs import cache_directory
from hostbuild.errors import GuestError, InputError, UsageError, WorldError
from hostbuild.fs.files import write_file
from hostbuild.near import did_you_mean, listed

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a guest of this name keeps its things."""

    name: str
    directory: Path

    @property
    def lock(self) -> Path:
        """The lock of whoever keeps it."""
        return self.directory.with_name(f"{self.name}.lock")

    @property
    def socket(self) -> Path:
        """Where its keeper is asked."""
        return self.directory / "socket"

    @property
    def ledger(self) -> Path:
        """Its ledger, as far as it has come."""
        return self.directory / "ledger.jsonl"

    @property
    def console(self) -> Path:
        """Its console's bytes."""
        return self.directory / "console.log"

    @property
    def log(self) -> Path:
        """What its keeper wrote."""
        return self.directory / "keeper.log"

    def write(self, what: str, value: dict[str, Any]) -> None:
        """Write guest.json or ended.json."""
        write_file(self.directory / f"{what}.json", json.dumps(value).encode(), f"{what}.json")

    def read(self, what: str) -> dict[str, Any]:
        """Read guest.json or ended.json; {} where it is not there, or not whole."""
        try:
            value = json.loads((self.directory / f"{what}.json").read_bytes())
        except (OSError, ValueError):
            return {}
        return value if isinstance(value, dict) else {}

    def alive(self) -> bool:
        """Return whether somebody keeps it."""
        try:
            lock = os.open(self.lock, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(lock)
        return False

    def wait_end(self, timeout: float) -> bool:
        """Wait until nobody keeps it; return whether that came."""
        deadline = time.monotonic() + timeout
        while self.alive():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def remove(self) -> None:
        """Remove what an ended guest has left."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def epitaph(self) -> str:
        """Say how it ended."""
        ended = self.read("ended")
        status = ended.get("status")
        message = ended.get("message") or (f"with status {status}" if status is not None else "")
        return str(message) if message else "its keeper was killed, or this machine went down"


def place_of(name: str) -> Place:
    """Return the place of a name. Raises UsageError for what is none."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is not a guest's name: up to 32 letters, digits, and . _ - after the first"
        )
    return Place(name, _home() / name)


def all_places() -> list[Place]:
    """Return the places of all guests that left anything, living or not."""
    home = _home()
    return [
        Place(path.name, path)
        for path in sorted(home.iterdir())
        if path.is_dir() and _NAME.fullmatch(path.name)
    ]


def require_alive(name: str) -> Place:
    """Return the place of a living guest. Raises InputError for one that never was, GuestError for one that ended."""
    place = place_of(name)
    if place.alive():
        return place
    if place.directory.is_dir():
        raise GuestError(
            f"the guest {name} has ended: {place.epitaph()}",
            hint=f"its console: {place.console}; its ledger: {place.ledger}",
        )
    living = [one.name for one in all_places() if one.alive()]
    near = did_you_mean(name, living)
    running = f"; running: {listed(living)}" if living and not near else ""
    raise InputError(
        f"there is no guest named {name}{near or running}", hint=f"hostbuild run --detach {name} IMAGE"
    )


def require_free(name: str) -> None:
    """Refuse a name that a running guest has. Raises UsageError."""
    if place_of(name).alive():
        raise _taken(name)


@contextmanager
def claim(name: str) -> Iterator[Place]:
    """Make an empty place for a new guest and hold its lock. Raises UsageError where one of that name is running.

    The lock passes to a process that is forked inside; it is free once all that have it have ended or left.
    """
    place = place_of(name)
    try:
        lock = os.open(place.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as e:
        raise WorldError(f"cannot make {place.lock}: {e.strerror}") from e
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            raise _taken(name) from e
        place.remove()
        place.directory.mkdir(mode=0o700)
        yield place
    finally:
        os.close(lock)


def _taken(name: str) -> UsageError:
    return UsageError(
        f"a guest named {name} is running already",
        hint=f"hostbuild stop {name}, or give the new one another name",
    )


@contextmanager
def in_directory(directory: Path) -> Iterator[str]:
    """Give a short path of the directory: a socket's has 108 bytes at most (unix(7))."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


def _home() -> Path:
    """Return the directory of all guests, which is this user's alone."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    base = Path(runtime) / "hostbuild" if runtime and Path(runtime).is_dir() else cache_directory()
    home = base / "guests"
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        status = home.stat()
    except OSError as e:
        raise WorldError(f"cannot make {home}: {e.strerror}", hint="set XDG_RUNTIME_DIR") from e
    if status.st_uid != os.geteuid():
        raise WorldError(f"{home} is another user's", hint="set XDG_RUNTIME_DIR to a directory of yours")
    if stat.S_IMODE(status.st_mode) & 0o077:
        with suppress(OSError):
            home.chmod(0o700)
    return home


def describe(place: Place) -> dict[str, Any]:
    """Return what is known of a guest, for programs."""
    about = place.read("guest")
    alive = place.alive()
    return {
        "name": place.name,
        "alive": alive,
        "ended": "" if alive else place.epitaph(),
        "image": about.get("image", ""),
        "machine": about.get("machine", ""),
        "since": about.get("since"),
        "pid": about.get("pid") if alive else None,
        "qemu": about.get("qemu") if alive else None,
        "ledger": str(place.ledger),
        "console": str(place.console),
    }
