"""What hostbuild keeps between runs: the directory of all of it, and answers that follow from contents alone.

An answer is kept under its question (remembered.py), which holds digests of all that it is made from, of the code that
makes it, too: so none is ever out of date, and a new hostbuild asks again.
"""

import hashlib
import marshal
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from hostbuild.errors import WorldError
from hostbuild.fs.remembered import remembered
from hostbuild.fs.shared import is_anybodys

KIND = "answers"
_Value = TypeVar("_Value")
_VERSION = 2  # of marshal's format, which every Python that runs hostbuild reads


def cache_directory() -> Path:
    """Return the directory of everything that hostbuild keeps between runs; made on first use."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    directory = Path(base) / "hostbuild"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        unsafe = is_anybodys(directory)
    except OSError as e:
        raise WorldError(
            f"cannot make the cache directory {directory}: {e.strerror}", hint="set XDG_CACHE_HOME"
        ) from e
    if unsafe:  # what lies in it is run
        raise WorldError(
            f"the cache directory {directory} is not used: another user can change what lies in it",
            hint="set XDG_CACHE_HOME to a directory of your own",
        )
    return directory


def answer(question: bytes, make: Callable[[], bytes]) -> bytes:
    """Return the bytes that answer a question: those that are kept, or what `make` returns, which is kept then."""
    return remembered(cache_directory() / KIND, question, make)


def values(code: str, asked: object, make: Callable[[], _Value]) -> _Value:
    """Return the values that answer a question: numbers, texts, bytes, and tuples, lists, sets and dicts of them.

    code: of code_of, for what makes them. asked: what they are made from, values as well, but for sets, whose order
    tells nothing; digests where it is large.
    """
    question = marshal.dumps([code, asked], _VERSION)
    made = answer(
        question,
        lambda: marshal.dumps(make(), _VERSION),  # type: ignore[arg-type]  # ValueError for what else there is
    )
    found: _Value = marshal.loads(made)  # noqa: S302 - our own words, under their digest
    return found


def digest(data: bytes) -> str:
    """Return the SHA-256 of some bytes."""
    return hashlib.sha256(data).hexdigest()


@lru_cache(maxsize=64)
def code_of(*places: str) -> str:
    """Return a digest of Python files, and of those in directories, by their paths."""
    found = hashlib.sha256()
    for place in map(Path, places):
        for path in sorted(place.glob("*.py")) if place.is_dir() else [place]:
            found.update(f"{path.name}\0".encode() + path.read_bytes())
    return found.hexdigest()
