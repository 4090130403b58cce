"""The modules that carried ones, and the kernel, ask for by name while they run: which come along, and who asks.

A rule says which:

    none    none of them
    named   those whose names can be seen in who asks (asks.py), each where it adds no more than LIMIT, with its needs
    all     these whatever they add, and everything of a family of which a program in the guest may have one asked for:
            every dm-* with dm_mod, every file system and protocol with the kernel

Who asks for what stands in the manifest, and in modules.requested of the image, a line each: MODULE ASKER WORD.
"""

import fnmatch
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from hostbuild.errors import InputError
from hostbuild.formats.kconfig import parse_config
from hostbuild.formats.modules.asks import NONE, Asks, asks_of_kernel
from hostbuild.formats.vmlinuz import kernel_of
from hostbuild.fs.regular import read_regular
from hostbuild.image.modules.module import Module
from hostbuild.image.modules.selection import Index, close
from hostbuild.kernels.kernel import Kernel
from hostbuild.kernels.kernel_modules import builtin_values

NAME = "modules.requested"
KERNEL = "kernel"  # who asks, of what is inside it
LIMIT = 256 << 10  # bytes


class Rule(Enum):
    """Which of the requested modules an image carries."""

    NONE = "none"
    NAMED = "named"
    ALL = "all"


@dataclass(slots=True)
class Requested:
    """What is asked for. asked: module -> who asks -> by which words; families are patterns there.

    added: the modules that came along, with what they need. left_out: a module that did not -> the bytes that it, and
    what it needs, would have added. warnings: what could not be read.
    """

    rule: Rule
    asked: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    added: set[str] = field(default_factory=set)
    left_out: dict[str, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def table(self, carried: Collection[str]) -> bytes:
        """Render modules.requested for an image that carries these modules."""
        lines = [
            f"{module} {asker} {word}\n"
            for module, askers in sorted(self.asked.items())
            for asker, words in sorted(askers.items())
            for word in words
            if module in carried and (asker in carried or asker == KERNEL)
        ]
        return "".join(lines).encode("utf-8", "surrogateescape")


def add_requested(
    names: Iterable[str], rule: Rule, index: Index, read: Callable[[str], Module], kernel: Kernel
) -> Requested:
    """Find what modules ask for, theirs too. read: gives a module by name; one that it cannot read asks for nothing."""
    closure = _Closure(set(names), rule, index, read, kernel)
    closure.run()
    return closure.found


class _Closure:
    def __init__(
        self, present: set[str], rule: Rule, index: Index, read: Callable[[str], Module], kernel: Kernel
    ) -> None:
        self.found = Requested(rule)
        self._chosen = frozenset(present)
        self._present = present
        self._waiting = sorted(present, reverse=True)
        self._index = index
        self._read = read
        self._kernel = kernel
        self._config = _configuration(kernel)
        # what is registered by the kernel's own parts is not asked for
        self._builtin = {
            alias.replace("-", "_")
            for names in builtin_values(kernel.modules, "alias").values()
            for alias in names
        }
        self._names = sorted({*index.aliases, *index.paths}) if rule is Rule.ALL else []

    def run(self) -> None:
        if self.found.rule is Rule.ALL:
            self._follow(KERNEL, self._of_kernel())
        while self._waiting:
            name = self._waiting.pop()
            if (module := self._module(name)) is not None:
                self._follow(name, module.asks)
        for name in self._present & self.found.left_out.keys():
            del self.found.left_out[name]

    def _follow(self, asker: str, asks: Asks) -> None:
        for word in sorted(asks.configured(self._config)):
            self._ask(asker, word, word)
        if self.found.rule is not Rule.ALL:
            return
        for family in sorted(asks.families):
            pattern = re.compile(fnmatch.translate(family.replace("-", "_")))
            for word in filter(pattern.match, self._names):
                self._ask(asker, word, family)

    def _ask(self, asker: str, word: str, told: str) -> None:
        if word.replace("-", "_") in self._builtin:
            return
        for module in self._index.resolve(word):
            if module == asker or module not in self._index.paths:
                continue
            words = self.found.asked.setdefault(module, {}).setdefault(asker, [])
            if told not in words:
                words.append(told)
            if module not in self._present and self.found.rule is not Rule.NONE:
                self._add(module)

    def _add(self, module: str) -> None:
        closed = close([module], self._index)
        # beside what was there at first, so that the order in which they are found does not count
        size = sum(
            read.size
            for name in closed
            if name not in self._chosen and (read := self._module(name)) is not None
        )
        if self.found.rule is Rule.NAMED and size > LIMIT:
            self.found.left_out[module] = size
            return
        new = [name for name in closed if name not in self._present]
        self._present.update(new)
        self.found.added.update(new)
        self._waiting.extend(reversed(new))

    def _module(self, name: str) -> Module | None:
        try:
            return self._read(name)
        except InputError:
            return None  # carried.py says so

    def _of_kernel(self) -> Asks:
        try:
            return asks_of_kernel(kernel_of(read_regular(self._kernel.vmlinuz)))
        except (InputError, OSError) as e:
            self.found.warnings.append(
                f"what the kernel itself asks for is not known: {self._kernel.vmlinuz}: {e}"
            )
            return NONE


def _configuration(kernel: Kernel) -> Mapping[str, str]:
    if kernel.config is None:
        return {}
    try:
        return parse_config(kernel.config.read_text(errors="replace"))
    except OSError:
        return {}
