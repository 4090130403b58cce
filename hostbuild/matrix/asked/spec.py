"""matrix.toml parsed into what it asks for. Pure; docs/matrix.md describes the file.

    kernels = ["deb:linux-image-{arch}", "deb:linux-image-{arch}/trixie", "../linux"]
    architectures = ["amd64", "arm64"]
    machines = ["virtio", "q35", "machines/board.toml"]

    [images.small]
    modules = "virtio,e1000"

    [tests.boot]                  nothing in it: it boots, settles, and ends with its own status

    [[exclude]]
    machine = "q35"
    architecture = "arm64"

    [[expect]]
    machine = "virtio"
    bound = ["virtio_net"]

Paths are taken from the file's own folder.
"""

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from hostbuild.arch import Arch, of_package, parse_arch
from hostbuild.errors import InputError, UsageError
from hostbuild.matrix.asked.axes import (
    AXES,
    Expectation,
    GuestTest,
    MatrixImage,
    MatrixKernel,
    Spec,
    Where,
)
from hostbuild.near import did_you_mean
from hostbuild.qemu.machine import parse_memory

_V = TypeVar("_V")

_TOP = (
    "kernels",
    "architectures",
    "machines",
    "devices",
    "append",
    "memory",
    "cpus",
    "accel",
    "timeout",
    "images",
    "tests",
    "exclude",
    "expect",
)
_IMAGE = ("modules", "overlays", "firmware_dirs", "modprobe", "python", "with")
_TEST = ("command", "script", "pytest", "append", "timeout")
_EXPECT = (*AXES, "status", "modules", "bound")
_VERSION = re.compile(r"\d+\.\d")  # a kernel by its version; a path that begins so is named ./6.1
_ACCELS = ("auto", "kvm", "tcg")
_MOST = 100_000  # values of an axis, and cells: more is a mistake in the file
_TIMEOUT_S = 600.0


def parse_spec(text: str, path: Path) -> Spec:
    """Parse a file's text; `path` is its own, for messages and for the paths in it. Raises InputError."""
    try:
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as e:
        raise InputError(f"{path}: not TOML: {e}") from e
    _only(table, _TOP, f"{path}:")
    folder = path.parent
    archs = tuple(_arch(word, path) for word in _words(table, "architectures", f"{path}:"))
    kernels = tuple(_kernels(table, archs, path))
    machines = tuple(_machine(word, folder) for word in _words(table, "machines", f"{path}:")) or ("virtio",)
    images = tuple(_image(*row, folder) for row in _tables(table, "images", path))
    tests = tuple(_test(*row, folder) for row in _tables(table, "tests", path))
    spec = Spec(
        path=path,
        kernels=kernels,
        architectures=archs,
        machines=_once(machines, "machines", path),
        images=images or (MatrixImage("default"),),
        tests=tests or (GuestTest("boot"),),
        devices=_words(table, "devices", f"{path}:"),
        append=_word(table, "append", f"{path}:"),
        memory=_memory(table, path),
        cpus=_count(table, "cpus", f"{path}:"),
        accel=_choice(table, "accel", _ACCELS, f"{path}:"),
        timeout_s=_seconds(table, f"{path}:") or _TIMEOUT_S,
        excludes=tuple(_where(row, AXES, what) for row, what in _rows(table, "exclude", path)),
        expectations=tuple(_expectation(row, what) for row, what in _rows(table, "expect", path)),
    )
    _check_names(spec)
    return spec


def _kernels(table: Mapping[str, Any], archs: tuple[Arch, ...], path: Path) -> Iterable[MatrixKernel]:
    """Give each kernel; a word with {arch} is one for each architecture. A table gives them names."""
    given = table.get("kernels")
    if isinstance(given, dict):
        named = {str(name): _word(given, name, f"{path}: [kernels]") for name in given}
    else:
        named = {word: word for word in _once(_words(table, "kernels", f"{path}:"), "kernels", path)}
    if not named:
        raise InputError(f"{path}: no kernels", hint='kernels = ["deb:linux-image-amd64"]')
    for name, word in named.items():
        if "{arch}" in word and not archs:
            raise InputError(
                f"{path}: the kernel {word!r} is for each architecture, and none is named",
                hint='architectures = ["amd64", "arm64"]',
            )
        if "{arch}" in word:
            each = name if "{arch}" in name else f"{name}-{{arch}}"
            for arch in archs:
                yield MatrixKernel(each.replace("{arch}", arch.value), _at(word, arch.value, path), arch)
            continue
        package = word.partition("/")[0].partition("=")[0]
        its = of_package(package) if word.startswith("deb:") else None
        if archs and its is not None and its not in archs:
            raise InputError(
                f"{path}: the kernel {word!r} is for {its}, which architectures does not name",
                hint=f'architectures = ["{its}"]',
            )
        yield MatrixKernel(name, _at(word, "", path), its)


def _at(word: str, arch: str, path: Path) -> str:
    """Return a kernel's word with its architecture, and from the file's folder where it is a path."""
    filled = word.replace("{arch}", arch)
    is_word = filled == "running" or filled.startswith("deb:") or _VERSION.match(filled)
    return filled if is_word else str(path.parent / filled)


def _machine(word: str, folder: Path) -> str:
    """Return a machine's name, or the path of its file."""
    return str(folder / word) if word.endswith(".toml") or "/" in word else word


def _image(name: str, table: Mapping[str, Any], what: str, folder: Path) -> MatrixImage:
    _only(table, _IMAGE, what)
    return MatrixImage(
        name,
        modules=_word(table, "modules", what) or "qemu",
        overlays=tuple(folder / word for word in _words(table, "overlays", what)),
        firmware_dirs=tuple(folder / word for word in _words(table, "firmware_dirs", what)),
        modprobe=_choice(table, "modprobe", ("busybox", "kmod"), what),
        python=_words(table, "python", what),
        extras=_words(table, "with", what),
    )


def _test(name: str, table: Mapping[str, Any], what: str, folder: Path) -> GuestTest:
    _only(table, _TEST, what)
    kinds = [key for key in ("command", "script", "pytest") if key in table]
    if len(kinds) > 1:
        raise InputError(f"{what}: {kinds[0]} and {kinds[1]} are mutually exclusive", hint="make two tests")
    if kinds and not table[kinds[0]]:
        raise InputError(f"{what}: {kinds[0]} is empty")
    command = table.get("command")
    shell = ("sh", "-c", command) if isinstance(command, str) else None
    return GuestTest(
        name,
        command=shell or _words(table, "command", what),
        script=folder / word if (word := _word(table, "script", what)) else None,
        pytest=tuple(folder / word for word in _words(table, "pytest", what)),
        append=_word(table, "append", what),
        timeout_s=_seconds(table, what),
    )


def _expectation(row: Mapping[str, Any], what: str) -> Expectation:
    where = _where(row, _EXPECT, what)
    status = row.get("status")
    if status is not None and (type(status) is not int or not 0 <= status <= 255):
        raise InputError(f"{what}: status must be a number from 0 to 255, not {status!r}")
    return Expectation(where, status, _words(row, "modules", what), _words(row, "bound", what))


def _where(row: Mapping[str, Any], keys: Iterable[str], what: str) -> Where:
    """Parse the cells that a row is about: each axis it names, with patterns as a shell's."""
    _only(row, keys, what)
    return Where(**{axis: _words(row, axis, what) for axis in AXES})


def _check_names(spec: Spec) -> None:
    """Refuse two values of an axis with one name, and rows that no value of an axis fits: a slip of the pen."""
    for axis in AXES:
        if axis != "architecture":
            _once([value.name for value in spec.values(axis)], f"{axis}s", spec.path)
    rows = [("exclude", row) for row in spec.excludes]
    rows += [("expect", row.where) for row in spec.expectations]
    for key, where in rows:
        for axis in AXES:
            for pattern in where.patterns(axis):
                known = [value.name for value in spec.values(axis)]
                if known and not where.fits_any(pattern, known):
                    near = did_you_mean(pattern, known) or f"; there are {', '.join(known[:8])}"
                    raise InputError(f"{spec.path}: [[{key}]] {axis} = {pattern!r} fits no {axis}{near}")


# Values of a TOML table, checked


def _only(table: Mapping[str, Any], known: Iterable[str], what: str) -> None:
    known = list(known)
    for key in table:
        if key not in known:
            near = did_you_mean(key, known) or f"; known are {', '.join(known)}"
            raise InputError(f"{what} unknown key {key!r}{near}")


def _tables(table: Mapping[str, Any], key: str, path: Path) -> Iterable[tuple[str, Mapping[str, Any], str]]:
    """Yield the tables of [key.NAME], each with its name and what to call it."""
    given = table.get(key, {})
    if not isinstance(given, dict):
        raise InputError(f"{path}: {key} must be tables: [{key}.NAME]")
    for name, inner in given.items():
        if not isinstance(inner, dict):
            raise InputError(f"{path}: {key}.{name} must be a table: [{key}.{name}]")
        yield name, inner, f"{path}: [{key}.{name}]"


def _rows(table: Mapping[str, Any], key: str, path: Path) -> Iterable[tuple[Mapping[str, Any], str]]:
    given = table.get(key, [])
    if not isinstance(given, list) or not all(isinstance(row, dict) for row in given):
        raise InputError(f"{path}: {key} must be tables: [[{key}]]")
    return ((row, f"{path}: [[{key}]] number {number}") for number, row in enumerate(given, 1))


def _words(table: Mapping[str, Any], key: str, what: str) -> tuple[str, ...]:
    """Return a list of words; a single word is a list of one."""
    value = table.get(key, [])
    value = [value] if isinstance(value, str) else value
    if not isinstance(value, list) or not all(isinstance(word, str) and word for word in value):
        raise InputError(f"{what} {key} must be a list of words, not {table.get(key)!r}")
    if len(value) > _MOST:
        raise InputError(f"{what} {key} has {len(value)} words; at most {_MOST} make sense")
    if any("\0" in word for word in value):
        raise InputError(f"{what} {key} has a word with a NUL character")
    return tuple(value)


def _word(table: Mapping[str, Any], key: str, what: str) -> str:
    value = table.get(key, "")
    if not isinstance(value, str) or "\0" in value:
        raise InputError(f"{what} {key} must be a string, not {value!r}")
    return value


def _choice(table: Mapping[str, Any], key: str, known: tuple[str, ...], what: str) -> str:
    value = _word(table, key, what) or known[0]
    if value not in known:
        raise InputError(
            f"{what} {key} = {value!r} is unknown{did_you_mean(value, known)}; known are {', '.join(known)}"
        )
    return value


def _count(table: Mapping[str, Any], key: str, what: str) -> int | None:
    value = table.get(key)
    if value is not None and (type(value) is not int or not 1 <= value <= 255):
        raise InputError(f"{what} {key} must be a number from 1 to 255, not {value!r}")
    return value


def _seconds(table: Mapping[str, Any], what: str) -> float | None:
    value = table.get("timeout")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= 86_400:
        raise InputError(f"{what} timeout must be a number of seconds from 1 to 86400, not {value!r}")
    return float(value)


def _memory(table: Mapping[str, Any], path: Path) -> str | None:
    text = _word(table, "memory", f"{path}:")
    return _checked(parse_memory, text, path, "memory") if text else None


def _arch(word: str, path: Path) -> Arch:
    try:
        return parse_arch(word)
    except UsageError as e:
        raise InputError(f"{path}: architectures: {e}", hint=e.hint) from e


def _checked(parse: Callable[[str], object], text: str, path: Path, key: str) -> str:
    try:
        parse(text)
    except UsageError as e:
        raise InputError(f"{path}: {key}: {e}", hint=e.hint) from e
    return text


def _once(names: Iterable[str], what: str, path: Path) -> tuple[str, ...]:
    found = tuple(names)
    for name in found:
        if found.count(name) > 1:
            raise InputError(f"{path}: {what} has {name!r} twice")
    return found
