"""Reads the configuration: the modprobe.d directories and the kernel's command line.

On the boot path: an absent directory costs one system call. Source: modprobe.d(5), proc(5).
"""

from __future__ import annotations

import posix

from modaliasd.core.errors import Problem
from modaliasd.core.kmod.modprobe_d import (
    DIRECTORIES,
    Configuration,
    counting_files,
    join,
    parse_command_line,
    parse_modprobe_d,
)

READ_SIZE = 1 << 20  # a whole modules.dep at once: joined from pieces it would be copied once more


def read_command_line(root: str = "/") -> str:
    """Read the kernel's command line; "" where it cannot be read."""
    try:
        return read_text(f"{root.rstrip('/')}/proc/cmdline")
    except OSError:
        return ""


def read_config(root: str = "/", command_line: str | None = None) -> Configuration:
    """Everything configured below `root`. What cannot be read becomes a Problem.

    command_line: the kernel's, if it has been read already.
    """
    base = root.rstrip("/")
    files: list[tuple[str, str]] = []
    problems: list[Problem] = []
    for path in config_files(base):
        try:
            text = read_text(base + path)
        except OSError as error:
            problems.append(Problem(path, 0, f"cannot be read: {error.strerror}"))
            continue
        files.append((path, text))
    if command_line is None:
        command_line = read_command_line(root)
    both = join(parse_modprobe_d(files), parse_command_line(command_line))
    return both._replace(problems=both.problems + tuple(problems))


def config_files(base: str) -> list[str]:
    """Return the configuration files that count, in order, as paths below `base`."""
    listings = []
    for directory in DIRECTORIES:
        try:
            listings.append((directory, posix.listdir(base + directory)))
        except OSError:
            continue
    return [f"{directory}/{name}" for directory, name in counting_files(listings)]


def is_there(path: str) -> bool:
    """Return whether something is at the path, and can be looked up."""
    try:
        posix.stat(path)
    except OSError:
        return False
    return True


def read_text(path: str) -> str:
    """Read the file's text; bytes that are not UTF-8 become surrogate escapes."""
    return read_bytes(path).decode("utf-8", "surrogateescape")


def read_bytes(path: str) -> bytes:
    """Read a whole file. OSError where that cannot be done."""
    descriptor = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        chunks = []
        while chunk := posix.read(descriptor, READ_SIZE):
            chunks.append(chunk)
    finally:
        posix.close(descriptor)
    return b"".join(chunks)
