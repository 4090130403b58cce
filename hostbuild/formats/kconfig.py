"""The kernel's .config and the fragments that are laid over one: pure text, no kernel tree needed.

A .config holds `CONFIG_NAME=value` and `# CONFIG_NAME is not set` (= n); everything else is a comment. A
fragment has the same syntax and states wishes: an option that it does not name is left alone. In hostbuild's
own fragments the comment lines directly above an option give the reason why it is wanted.

Source: the kernel's scripts/kconfig/confdata.c, conf_read_simple().
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from hostbuild.arch import Arch
from hostbuild.errors import InputError

_SET = re.compile(r"CONFIG_(\w+)=(.*)")
_UNSET = re.compile(r"# CONFIG_(\w+) is not set")
_HEAD = re.compile(r"(?m)^# Linux/(\w+) .*Kernel Configuration$")
_WISH = re.compile(r"(?:CONFIG_)?([A-Z0-9_]\w*)(?:=(.*))?")

Config = Mapping[str, str]
"""Option name without CONFIG_ -> its value as written: y, m, n, a number, or a string in quotes."""


@dataclass(frozen=True, slots=True)
class Wish:
    """An option that somebody wants at a value, and why.

    option: its name without CONFIG_. value: as a .config writes it. reason: "" where none was given.
    """

    option: str
    value: str
    reason: str = ""

    def line(self) -> str:
        """Render the wish as a line of a .config."""
        if self.value == "n":
            return f"# CONFIG_{self.option} is not set"
        return f"CONFIG_{self.option}={self.value}"


def parse_config(text: str) -> dict[str, str]:
    """Parse a .config; the last mention of an option counts. What is not an option's line is passed over."""
    return dict(_parsed(text))


@lru_cache(maxsize=4)
def _parsed(text: str) -> Config:
    """Parse the same text, of thousands of lines, once; several ask for their options."""
    options: dict[str, str] = {}
    for line in text.splitlines():
        if match := _SET.fullmatch(line.rstrip()):
            options[match[1]] = match[2]
        elif match := _UNSET.fullmatch(line.rstrip()):
            options[match[1]] = "n"
    return options


def arch_of(text: str) -> Arch | None:
    """Tell for which architecture a .config is, by its head or its options; None where neither says it.

    Raises InputError for one that no kernels are built for.
    """
    head = _HEAD.search(text)
    config = parse_config(text)
    for one in Arch:
        kbuild = one.facts.kbuild
        if value_of(config, kbuild.upper()) == "y" or (head and head[1] == kbuild):
            return one
    if head:
        raise InputError(
            f"the configuration is for {head[1]}; kernels are built for {', '.join(one.value for one in Arch)}"
        )
    return None


def render_config(options: Config) -> str:
    """Render options as a .config, in the mapping's order."""
    return "".join(Wish(name, value).line() + "\n" for name, value in options.items())


def parse_fragment(text: str, *, origin: str) -> tuple[Wish, ...]:
    """Parse a fragment with its reasons.

    origin: what to call the text in errors.
    Raises InputError for a line that is neither empty, a comment nor an option, and for an option named
    twice.
    """
    wishes: dict[str, Wish] = {}
    comments: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        match = _SET.fullmatch(line) or _UNSET.fullmatch(line)
        if match:
            value = match[2] if match.re is _SET else "n"
            if match[1] in wishes:
                raise InputError(f"{origin}, line {number}: CONFIG_{match[1]} is named a second time")
            wishes[match[1]] = Wish(match[1], value, " ".join(comments))
            comments = []
        elif line.startswith("#"):
            comments.append(line.lstrip("#").strip())
        elif not line:
            comments = []
        else:
            raise InputError(
                f"{origin}, line {number}: {line!r} is not an option",
                hint="write CONFIG_NAME=y, CONFIG_NAME=m or # CONFIG_NAME is not set, one per line",
            )
    return tuple(wishes.values())


def parse_wish(word: str, *, reason: str = "") -> Wish:
    """Parse an option as the command line names it: CONFIG_E1000=m, E1000=m, or E1000 (= y)."""
    match = _WISH.fullmatch(word)
    if match is None:
        raise InputError(
            f"{word!r} is neither a file nor an option", hint="name a fragment, or an option as E1000=m"
        )
    return Wish(match[1], "y" if match[2] is None else match[2], reason)


def mod2no(config: Config) -> dict[str, str]:
    """Unset every module of a configuration, as `make mod2noconfig` does."""
    return {name: "n" if value == "m" else value for name, value in config.items()}


def value_of(config: Config, option: str) -> str:
    """Return the option's value; "n" where the configuration does not mention it, as the kernel's build reads it."""
    return config.get(option, "n")


def came_true(wish: Wish, config: Config) -> bool:
    """Return whether a finished configuration gives what was wished for; a module wished for may also be built
    in."""
    value = value_of(config, wish.option)
    if wish.value == "m":
        return value in ("m", "y")
    return value == wish.value
