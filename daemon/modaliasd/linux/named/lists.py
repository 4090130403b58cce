"""Reads modules-load.d and /etc/modules: a system call for each place where there is nothing."""

from __future__ import annotations

import posix

from modaliasd.core.errors import Problem
from modaliasd.core.kmod.modules_load import (
    DIRECTORIES,
    FILE,
    Listed,
    listing_files,
    once,
    parse_modules_load,
    parse_modules_load_words,
)
from modaliasd.linux.config import read_text


def read_modules_load(command_line: str, root: str = "") -> tuple[list[Listed], list[Problem]]:
    """Everything that is to be loaded by name, in order, each once; what cannot be read becomes a Problem."""
    listed = parse_modules_load_words(command_line)
    problems: list[Problem] = []
    for path in (FILE, *list_files(root)):
        try:
            listed += parse_modules_load(read_text(root + path), path)
        except FileNotFoundError:
            if path != FILE:
                problems.append(Problem(path, 0, "cannot be read: it is a link that leads nowhere"))
        except OSError as e:
            problems.append(Problem(path, 0, f"cannot be read: {e.strerror}"))
    return once(listed), problems


def list_files(root: str = "") -> list[str]:
    """Return the files of modules-load.d that count, in order, as paths below `root`."""
    listings = []
    for directory in DIRECTORIES:
        try:
            listings.append((directory, posix.listdir(root + directory)))
        except OSError:
            continue
    return listing_files(listings)
