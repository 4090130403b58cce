"""The plugin's marks as values: @pytest.mark.kernel, .machine, .image and .guest. Checked here, and only here.

A mark on a test counts before one on its class, and that before its module's `pytestmark`: for the names it gives, and
for each keyword. So a module may say which machine it is for, and a test which devices it has.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar

from hostbuild.errors import UsageError
from hostbuild.near import did_you_mean

_W = TypeVar("_W")

# For --markers, and for --strict-markers.
MARKERS = (
    "kernel(*specs): the kernels to test on, one after the other: deb:PACKAGE, running, the path of a vmlinuz",
    "machine(*names, devices=(), root_ports=None, cpus=None): the machines, by name or file, with devices added",
    "image(modules='qemu', modules_dir=None, overlay=(), firmware_dir=(), modprobe='busybox', python=(), extras=()): "
    "what the image has; paths from the test's own directory",
    "guest(shared=False, append='', memory=None, timeout=None): how it boots; shared: one guest for the module's tests",
)


@dataclass(frozen=True, slots=True)
class MachineWish:
    """devices: as --device, after the machine's own. root_ports, cpus: instead of the machine's, where not None."""

    devices: tuple[str, ...] = ()
    root_ports: int | None = None
    cpus: int | None = None


@dataclass(frozen=True, slots=True)
class ImageWish:
    """As make-image's options of these names (--overlay, --modules, --with, ...)."""

    modules: str = "qemu"
    modules_dir: Path | None = None
    overlay: tuple[Path, ...] = ()
    firmware_dir: tuple[Path, ...] = ()
    modprobe: str = "busybox"
    python: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GuestWish:
    """shared: one guest for all tests of the module that wish the same; plugs are undone after each. append: words for
    the kernel. memory: "512M"; None is reckoned. timeout: the guest's whole life in seconds; None: ten minutes, an hour
    if it is shared.
    """

    shared: bool = False
    append: str = ""
    memory: str | None = None
    timeout: float | None = None

    @property
    def limit_s(self) -> float:
        """The guest's whole life in seconds."""
        return self.timeout or (3600.0 if self.shared else 600.0)


def names_in(mark: str, marks: Iterable[Any]) -> tuple[str, ...]:
    """Return the names that a mark gives, of the nearest one that gives any. marks: pytest's, the nearest first."""
    for one in marks:
        if one.args:
            if not all(isinstance(name, str) and name for name in one.args):
                raise UsageError(f"the mark {mark} takes names, not {', '.join(map(repr, one.args))}")
            return tuple(one.args)
    return ()


def wish_of(mark: str, kind: type[_W], marks: Iterable[Any], directory: Path, *, names: bool = False) -> _W:
    """Return what marks say by keywords. directory: where their relative paths start. names: it takes names as well.

    Raises UsageError for a keyword, or a value, that it does not take.
    """
    given: dict[str, Any] = {}
    for one in marks:
        if one.args and not names:
            raise UsageError(f"the mark {mark} takes keywords only, not {one.args[0]!r}")
        given = {**one.kwargs, **given}
    return checked(f"the mark {mark}", kind, given, directory)


def checked(who: str, kind: type[_W], given: Mapping[str, Any], directory: Path) -> _W:
    """Return a wish of these keywords. directory: where relative paths start. Raises UsageError."""
    known = [one.name for one in fields(kind)]  # type: ignore[arg-type]
    for key, value in given.items():
        if key not in known:
            there = f"; it takes {', '.join(known)}"
            raise UsageError(f"{who} has no keyword {key!r}{did_you_mean(key, known) or there}")
        if not _TAKES[key].takes(value):
            raise UsageError(f"{who}: {key} is {_TAKES[key].what}, not {value!r}")
    return kind(**{key: _TAKES[key].value(value, directory) for key, value in given.items()})


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _are(kind: type | UnionType) -> Callable[[object], bool]:
    """Return what is true of one of a kind, and of a list of them."""

    def are(value: object) -> bool:
        if isinstance(value, kind):
            return True
        return isinstance(value, list | tuple) and all(isinstance(one, kind) for one in value)

    return are


def _as_given(value: Any, _directory: Path) -> Any:  # noqa: ANN401 - as the user wrote it
    return value


def _words(value: str | Iterable[str], _directory: Path) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _path(value: str | Path | None, directory: Path) -> Path | None:
    return None if value is None else directory / value


def _paths(value: str | Path | Iterable[str | Path], directory: Path) -> tuple[Path, ...]:
    several = (value,) if isinstance(value, str | Path) else value
    return tuple(directory / one for one in several)


@dataclass(frozen=True, slots=True)
class _Keyword:
    """What a keyword takes, in words; whether a value is that; how it stands in a wish."""

    what: str
    takes: Callable[[object], bool]
    value: Callable[[Any, Path], Any] = _as_given


_COUNT = _Keyword(
    "a number", lambda value: value is None or (isinstance(value, int) and not isinstance(value, bool))
)
_TEXT = _Keyword("a string", lambda value: isinstance(value, str))
_LIST = _Keyword("a string or a list of strings", _are(str), _words)
_PATHS = _Keyword("a path or a list of paths", _are(str | Path), _paths)
_TAKES: Mapping[str, _Keyword] = {
    "devices": _LIST,
    "root_ports": _COUNT,
    "cpus": _COUNT,
    "modules": _TEXT,
    "modules_dir": _Keyword("a path", lambda value: value is None or isinstance(value, str | Path), _path),
    "overlay": _PATHS,
    "firmware_dir": _PATHS,
    "modprobe": _TEXT,
    "python": _LIST,
    "extras": _LIST,
    "shared": _Keyword("True or False", lambda value: isinstance(value, bool)),
    "append": _TEXT,
    "memory": _Keyword("a size as 512M", lambda value: value is None or isinstance(value, str)),
    "timeout": _Keyword("a number of seconds", lambda value: value is None or _is_number(value)),
}
