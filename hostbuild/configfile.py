"""hostbuild.toml: the options of a project's commands, found from the current folder upwards. Pure, but for finding it.

    kernel = "deb:linux-image-amd64"      for the commands that build and boot: make-image, run, shell, prove, ram;
    modules = "virtio,e1000"              and, but for these two keys, boot and try
    overlays = ["files"]
    machine = "q35"
    devices = ["e1000", "nvme,serial=1"]
    append = "quiet"
    shares = ["."]

    [run]                                 for one command; so are ["kernel build"] and all others
    timeout = 120

A key is an option's long name; one that may be given several times has a list, and may be called by its plural. Paths
are taken from the file's own folder. The command line counts more, and a command's table more than the file's top.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hostbuild.errors import InputError
from hostbuild.near import did_you_mean

NAME = "hostbuild.toml"
# The commands that the file's top is for. Those that bring a kernel of their own have it all but for that.
SHARED = ("make-image", "run", "boot", "try", "shell", "prove", "ram")
_OWN_KERNEL = ("boot", "try")
_ABOUT_KERNEL = ("kernel", "modules")


@dataclass(frozen=True, slots=True)
class Option:
    """An option as a key of the file. parameter: click's name of it. is_path: its value is a path, or names one."""

    parameter: str
    long: str
    multiple: bool = False
    is_flag: bool = False
    is_number: bool = False
    is_path: bool = False

    @property
    def keys(self) -> tuple[str, ...]:
        """The names that it has in the file."""
        return (self.long, f"{self.long}s") if self.multiple else (self.long,)


@dataclass(frozen=True, slots=True)
class Config:
    """A file that was read: for each command its options' values, by click's names, and where each stands."""

    path: Path
    values: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    places: Mapping[tuple[str, str], str] = field(default_factory=dict)

    def default_map(self) -> dict[str, Any]:
        """Return the values as click's default_map has them: a table for each word of a command's name."""
        found: dict[str, Any] = {}
        for command, values in self.values.items():
            table = found
            for word in command.split():
                table = table.setdefault(word, {})
            table.update(values)
        return found


def find_config(start: Path) -> Path | None:
    """Find the file in `start` or the nearest folder above it. Raises InputError for somebody else's.

    A file decides what is run, so it has to belong to who runs hostbuild, or to root.
    """
    for folder in (start, *start.parents):
        path = folder / NAME
        try:
            owner = path.stat().st_uid
        except OSError:
            continue
        if owner not in (os.geteuid(), 0):
            raise InputError(
                f"{path} belongs to another user, and would decide what is run here",
                hint="--no-config leaves it out; --config FILE takes one nevertheless",
            )
        return path
    return None


def parse_config(text: str, path: Path, commands: Mapping[str, Iterable[Option]]) -> Config:
    """Check a file's text against the commands' options. Raises InputError with the key and the near ones."""
    import tomllib  # for who has such a file

    try:
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as e:
        raise InputError(f"{path}: not TOML: {e}") from e
    known = {
        name: {_plain(key): one for one in options for key in one.keys} for name, options in commands.items()
    }
    values: dict[str, dict[str, Any]] = {}
    places: dict[tuple[str, str], str] = {}

    def put(command: str, value: object, option: Option, place: str) -> None:
        values.setdefault(command, {})[option.parameter] = _checked(
            value, option, f"{path}: {place}", path.parent
        )
        places[command, option.parameter] = place

    tables = {key: value for key, value in table.items() if isinstance(value, dict)}
    for key, value in table.items():
        if key in tables:
            continue
        having = [
            name for name in SHARED if _plain(key) in known.get(name, {}) and _is_for(name, _plain(key))
        ]
        if not having:
            raise _unknown(path, key, known)
        for name in having:
            put(name, value, known[name][_plain(key)], key)
    for name, entries in tables.items():
        if name not in known:
            raise InputError(f"{path}: [{name}] is not a command{did_you_mean(name, known)}")
        for key, value in entries.items():
            option = known[name].get(_plain(key))
            if option is None:
                near = did_you_mean(key, _names(known[name]))
                raise InputError(f"{path}: [{name}] has an unknown key {key!r}{near}")
            put(name, value, option, f"[{name}] {key}")
    return Config(path, values, places)


def _is_for(command: str, key: str) -> bool:
    return command not in _OWN_KERNEL or key not in _ABOUT_KERNEL


def _unknown(path: Path, key: str, known: Mapping[str, Mapping[str, Option]]) -> InputError:
    if others := [name for name, keys in known.items() if _plain(key) in keys]:
        return InputError(
            f"{path}: {key!r} at the top is for {', '.join(SHARED)}, none of which has it",
            hint=f"put it into [{others[0]}]",
        )
    top = {one for name in SHARED for one in _names(known.get(name, {}))}
    return InputError(f"{path}: unknown key {key!r}{did_you_mean(key, top)}")


def _names(keys: Mapping[str, Option]) -> set[str]:
    return {name for option in keys.values() for name in option.keys}


def _checked(value: object, option: Option, place: str, folder: Path) -> Any:  # noqa: ANN401
    """Return the value as click takes it. Raises InputError for one of another kind."""
    if option.is_flag:
        if not isinstance(value, bool):
            raise InputError(f"{place} has to be true or false, not {value!r}")
        return value
    if option.multiple:
        items = value if isinstance(value, list) else [value]
        return [_word(item, option, place, folder) for item in items]
    return _word(value, option, place, folder)


def _word(value: object, option: Option, place: str, folder: Path) -> Any:  # noqa: ANN401
    if isinstance(value, int | float) and not isinstance(value, bool):
        if option.is_number or option.long in ("memory", "append"):
            return value if option.is_number else str(value)
    elif isinstance(value, str) and not option.is_number:
        return from_folder(option, value, folder) if option.is_path else value
    kind = "a number" if option.is_number else "a string" if not option.multiple else "a list of strings"
    raise InputError(f"{place} has to be {kind}, not {value!r}")


def from_folder(option: Option, value: str, folder: Path) -> str:
    """Return a path of the file as seen from the current folder; words that name none stay as they are."""
    if option.long == "kernel" and (value.startswith("deb:") or value == "running"):
        return value
    if option.long == "machine" and not (value.endswith(".toml") or "/" in value):
        return value
    if option.long == "device":
        parts = value.split(",")
        return ",".join(f"file={folder / part[5:]}" if part.startswith("file=") else part for part in parts)
    if option.long == "share":
        directory, colon, rest = value.partition(":")
        return f"{Path(os.path.normpath(folder / directory))}{colon}{rest}"
    return str(folder / value)


def _plain(key: str) -> str:
    return key.replace("_", "-")
