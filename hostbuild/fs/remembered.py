"""Answers that took time to get, kept in hostbuild's cache under a digest of their question.

    DIRECTORY/KEY       the SHA-256 of the answer, then the answer

The question holds everything that the answer depends on, so that an answer is never out of date. One that is torn or
damaged is as one that is not there. Processes share the directory: a file gets its name when it is complete. What
nobody has asked for in two weeks is removed.
"""

import hashlib
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_KEEP_S = 14 * 86400.0
_DAY_S = 86400.0  # how much an answer's time may be off
_DIGEST = hashlib.sha256().digest_size
_HALF = ".half-"
_LOOKED = ".looked"  # when old answers were looked for last


def remembered(directory: Path, question: bytes, make: Callable[[], bytes]) -> bytes:
    """Return the answer to a question: the one that is kept, or what `make` returns, which is kept then.

    A directory in which nothing can be kept costs time and no more.
    """
    path = directory / hashlib.sha256(question).hexdigest()
    answer = _read(path)
    if answer is None:
        answer = make()
        with suppress(OSError):
            directory.mkdir(exist_ok=True)
            _keep(path, answer)
            _forget_old(directory, time.time())
    return answer


def _read(path: Path) -> bytes | None:
    try:
        with path.open("rb") as stream:
            kept = stream.read()
            if os.fstat(stream.fileno()).st_mtime < time.time() - _DAY_S:
                os.utime(path)
    except OSError:
        return None
    answer = kept[_DIGEST:]
    return answer if hashlib.sha256(answer).digest() == kept[:_DIGEST] else None


def _keep(path: Path, answer: bytes) -> None:
    half = path.with_name(f"{_HALF}{os.urandom(8).hex()}")
    descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as stream:
            stream.write(hashlib.sha256(answer).digest() + answer)
        os.replace(half, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(half)
        raise


def _forget_old(directory: Path, now: float) -> None:
    """Remove what nobody has asked for in two weeks; look for it once a day."""
    looked = directory / _LOOKED
    if looked.exists() and looked.stat().st_mtime > now - _DAY_S:
        return
    looked.touch()
    before = now - _KEEP_S
    with os.scandir(directory) as entries:
        for entry in entries:
            with suppress(OSError):
                if entry.stat(follow_symlinks=False).st_mtime < before:
                    os.unlink(entry.path)
