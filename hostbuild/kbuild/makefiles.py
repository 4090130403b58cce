"""Which option builds which module, read from the kernel's Makefiles (kbuild syntax,
Documentation/kbuild/makefiles.rst).

    obj-$(CONFIG_E1000E) += e1000e.o           module e1000e comes with CONFIG_E1000E
    obj-$(CONFIG_SND_HDA_INTEL) += snd-hda-intel.o
    snd-hda-intel-objs := hda_intel.o          what a module is linked from is of no interest here
    obj-$(CONFIG_RTL8XXXU) += rtl8xxxu/        a directory: what it lists with obj-y belongs to this option

Conditionals (ifeq, ifdef) are not evaluated: a module named in either branch is known. That is what a person
asking for a driver wants; whether the option can be had is for Kconfig to say.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from modaliasd.core.kmod.names import module_name

_RULE = re.compile(r"obj-(?P<when>[^=]+?)\s*[:+?]?=(?P<what>.*)")
_OPTION = re.compile(r"CONFIG_(\w+)")


@dataclass(frozen=True, slots=True)
class Rule:
    """One object or directory that a Makefile may build.

    option: what decides, without CONFIG_; "" for obj-y and obj-m, which always count.
    target: `name.o` or `dir/`.
    """

    option: str
    target: str


def parse_makefile(text: str) -> tuple[Rule, ...]:
    """Read the obj- rules of one Makefile or Kbuild file."""
    rules: list[Rule] = []
    for line in _logical_lines(text):
        match = _RULE.fullmatch(line)
        if match is None:
            continue
        options = _OPTION.findall(match["when"])
        if not options and match["when"] not in ("y", "m"):
            continue  # obj-$(some-variable): nothing that can be asked for
        # In $(subst y,$(CONFIG_L2TP),$(CONFIG_PPPOL2TP)) the last is the feature, the others bound its value.
        option = options[-1] if options else ""
        rules += [Rule(option, word) for word in match["what"].split() if word.endswith((".o", "/"))]
    return tuple(rules)


def index_modules(makefiles: Iterable[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    """Make the table module name -> options that build it.

    makefiles: the directory below the tree's root ("drivers/net") and the text of each Makefile and Kbuild
    file. Module names are written as the kernel writes them when loaded, with underscores. A module that
    several options build has them in sorted order.
    """
    rules = {directory: parse_makefile(text) for directory, text in makefiles}
    owners = _directory_options(rules)
    index: dict[str, set[str]] = {}
    for directory, found in rules.items():
        for rule in found:
            if not rule.target.endswith(".o") or "/" in rule.target:
                continue
            options = {rule.option} if rule.option else owners.get(directory, set())
            if options:
                index.setdefault(module_name(rule.target), set()).update(options)
    return {name: tuple(sorted(options)) for name, options in sorted(index.items())}


def _directory_options(rules: Mapping[str, tuple[Rule, ...]]) -> dict[str, set[str]]:
    owners: dict[str, set[str]] = {}
    for directory, found in rules.items():
        for rule in found:
            if rule.option and rule.target.endswith("/"):
                owners.setdefault(f"{directory}/{rule.target}".strip("/"), set()).add(rule.option)
    return owners


def _logical_lines(text: str) -> Iterable[str]:
    """Return the lines with their continuations joined and their comments cut off."""
    for line in text.replace("\\\n", " ").splitlines():
        yield line.split("#", 1)[0].strip()
