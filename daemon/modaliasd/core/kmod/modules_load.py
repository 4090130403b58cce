"""modules-load.d and /etc/modules: modules that are loaded at every boot, by name, whatever devices there are.

    # a comment, as is a line that begins with ;
    nf_conntrack hashsize=65536

A line is a name or an alias, with the module's options behind it (modules(5); systemd passes none, Debian's kmod
script does). Of the files in DIRECTORIES those count whose names end in .conf; one hides those of the same name in
later directories, and all are read in the order of their names, /etc/modules before them. `modules_load=A,B` on the
kernel's command line goes before every file. What is named twice is loaded once.
Source: modules-load.d(5), systemd's src/modules-load/modules-load.c; Debian's modules(5) and /etc/init.d/kmod.
"""

from __future__ import annotations

from modaliasd.core.fasttypes import NamedTuple
from modaliasd.core.kmod.modprobe_d import counting_files
from modaliasd.core.settings import KERNEL_COMMAND_LINE, next_args

FILE = "/etc/modules"
DIRECTORIES = (
    "/etc/modules-load.d",
    "/run/modules-load.d",
    "/usr/local/lib/modules-load.d",
    "/usr/lib/modules-load.d",
    "/lib/modules-load.d",
)
_WORDS = ("modules_load", "rd.modules_load")  # the latter counts in an initramfs, which this is


class Listed(NamedTuple):
    """One module that is to be loaded. options: "" for none. line: from 1, 0 for the kernel's command line."""

    name: str
    options: str
    file: str
    line: int


def listing_files(listings: list[tuple[str, list[str]]]) -> list[str]:
    """Which paths are read, in order, given what lies in each of DIRECTORIES, in their order."""
    named = [(directory, [name for name in names if name.endswith(".conf")]) for directory, names in listings]
    return [f"{directory}/{name}" for directory, name in counting_files(named)]


def parse_modules_load(text: str, file: str) -> list[Listed]:
    """Parse one file's lines."""
    found: list[Listed] = []
    for number, line in enumerate(text.split("\n"), 1):
        words = line.split(None, 1)
        if words and words[0][0] not in "#;":
            found.append(Listed(words[0], words[1].strip() if len(words) > 1 else "", file, number))
    return found


def parse_modules_load_words(command_line: str) -> list[Listed]:
    """Parse what the kernel's command line names."""
    if "modules" not in command_line:
        return []
    return [
        Listed(name, "", KERNEL_COMMAND_LINE, 0)
        for word, value in next_args(command_line)
        if word.replace("-", "_") in _WORDS
        for name in (value or "").split(",")
        if name
    ]


def once(listed: list[Listed]) -> list[Listed]:
    """Each module once: a file may be a link to another, as modules-load.d/modules.conf is in Debian."""
    first: dict[tuple[str, str], Listed] = {}
    for entry in listed:
        first.setdefault((entry.name.replace("-", "_"), entry.options), entry)
    return list(first.values())
