"""modules.dep, modules.softdep, modules.builtin: what each module needs, in which order it is inserted.

    kernel/sound/core/snd-pcm.ko: kernel/sound/core/snd-timer.ko kernel/sound/core/snd.ko
    softdep libcrc32c pre: crc32c post: other

A line of modules.dep names all modules that the first one needs, directly or not, the ones to insert first at
its end (depmod writes it so, kmod inserts the reversed list). Paths are relative to the directory of the
file. A module's name is its file's name up to the first dot, with `_` for `-`; `.ko` can be followed by
`.gz`, `.xz` or `.zst`. Source: kmod's libkmod-module.c (kmod_module_parse_depline) and tools/depmod.c.

A line without a colon, or with a path that names no module, is left out, as kmod and busybox leave it out, and
becomes a Problem where the file is read whole. depmod writes one line for each name; where there are more the first
one counts. modules.softdep has the syntax of modprobe.d.

A full modules.dep has 4,000 lines and half a megabyte, and a machine needs 100 of them: to look at each line costs a
boot more than all that it asks for, so lines are searched in the text, and parsed, when asked for.
"""

from __future__ import annotations

from modaliasd.core.errors import Problem
from modaliasd.core.fasttypes import NamedTuple
from modaliasd.core.kmod.names import module_name, underscored

PATH_MAX = 4096  # include/uapi/linux/limits.h
MOST_ABSENT = 1024  # names remembered as those of no module


class ModuleFile(NamedTuple):
    """One line of modules.dep. `needs`: the names of the modules it needs, in the order of insertion."""

    name: str
    path: str
    needs: tuple[str, ...] = ()


class Softdep(NamedTuple):
    """Modules to insert before and after `module` (which may be a pattern) where they exist.

    others: words before `pre:` and `post:`, which kmod passes over (cifs has them): of use to whoever makes an image.
    """

    module: str
    pre: tuple[str, ...]
    post: tuple[str, ...]
    file: str = ""
    line: int = 0
    others: tuple[str, ...] = ()


class LoadOrder(NamedTuple):
    """The answer to "what must be inserted for this module": `modules` in order, itself last.

    missing: needed modules that have no line of their own (their file was taken out of the tree).
    cycle: the names around a dependency cycle, first and last the same; such a module cannot be inserted.
    """

    modules: tuple[str, ...]
    missing: tuple[str, ...] = ()
    cycle: tuple[str, ...] = ()


class Dependencies:
    """What modules.dep and modules.builtin tell, parsed as far as it was asked for.

    problems: what was found wrong with the tables beside modules.dep when they were read.
    """

    def __init__(
        self, dep_text: str, builtin: frozenset[str] = frozenset(), problems: tuple[Problem, ...] = ()
    ) -> None:
        self.builtin = builtin
        self.problems = problems
        self._text = dep_text
        # The text with `_` for `-` and `/` before every path, one character further on than in the text itself.
        self._paths = f"/{dep_text}".replace("-", "_").replace("\n", "/")
        first, _, _ = dep_text[:PATH_MAX].partition(":")
        # ".ko" or ".ko.xz": most trees have one only
        self._ending = first[first.find(".", first.rfind("/") + 1) :]
        self._found: dict[str, ModuleFile] = {}
        self._absent: set[str] = set()
        self._acyclic: set[str] = set()
        self._orders: dict[str, LoadOrder] = {}

    def find(self, name: str) -> ModuleFile | None:
        """Return the line of the module called `name` (with underscores), None where there is no such module."""
        known = self._found.get(name)
        if known is not None or name in self._absent:
            return known
        file = self._search(name)
        if file is not None:
            self._found[name] = file
            return file
        if len(self._absent) >= MOST_ABSENT:  # whoever asks for modules can think of ever more names
            self._absent.clear()
        self._absent.add(name)
        return None

    def _search(self, name: str) -> ModuleFile | None:
        """Many lines may name a module as a need; its own begins with its path. depmod writes one for each name."""
        mentioned = self._paths.find(f"/{name}.")
        if mentioned < 0:
            return None
        file = self._file_at(self._paths.find(f"/{name}{self._ending}:", mentioned), name)
        while file is None and mentioned >= 0:
            file = self._file_at(mentioned, name)
            mentioned = self._paths.find(f"/{name}.", mentioned + 1)
        return file

    def _file_at(self, at: int, name: str) -> ModuleFile | None:
        """Return the line of which the own path ends with the name at that place; None where a need does, or for -1."""
        if at < 0:
            return None
        start = self._text.rfind("\n", 0, at) + 1
        if self._text.find(":", start, at) >= 0:
            return None
        end = self._text.find("\n", at)
        file = parse_dep_line(self._text[start : end if end >= 0 else None])
        return file if file is not None and file.name == name else None

    def load_order(self, name: str) -> LoadOrder:
        """Everything that has to be inserted for `name`; only itself if modules.dep does not know it."""
        order = self._orders.get(name)
        if order is None:
            order = self._orders[name] = self._load_order(name)
        return order

    def _load_order(self, name: str) -> LoadOrder:
        file = self.find(name)
        if file is None:
            return LoadOrder((name,), missing=(name,))
        missing = tuple(need for need in file.needs if self.find(need) is None)
        return LoadOrder((*file.needs, name), missing, self._cycle(name))

    def _cycle(self, name: str) -> tuple[str, ...]:
        """Return the first cycle met on the way down from `name`, () where there is none."""
        path: list[str] = []
        place: dict[str, int] = {}  # of each name on the path
        ways = [iter((name,))]
        while ways:
            need = next(ways[-1], None)
            if need is None:
                ways.pop()
                if path:
                    done = path.pop()
                    del place[done]
                    self._acyclic.add(done)
                continue
            if need in place:
                return (*path[place[need] :], need)
            file = None if need in self._acyclic else self.find(need)
            if file is not None:
                place[need] = len(path)
                path.append(need)
                ways.append(iter(file.needs))
        return ()


def parse_modules_dep(text: str, file: str = "modules.dep") -> tuple[dict[str, ModuleFile], list[Problem]]:
    """Return all of modules.dep: name -> its line, in the file's order. A boot goes by `Dependencies`."""
    found: dict[str, ModuleFile] = {}
    bad: list[Problem] = []
    for number, line in enumerate(text.split("\n"), 1):
        one = parse_dep_line(line)
        if one is None:
            if line.strip() and not line.startswith("#"):
                what = "no module's path before the colon" if ":" in line else "a line without a colon"
                bad.append(Problem(file, number, f"{what}: {line[:80]!r}"))
        elif found.setdefault(one.name, one) is not one:
            first = found[one.name].path
            bad.append(
                Problem(file, number, f"{one.name} has a line already, for {first}; {one.path} is left out")
            )
    return found, bad


def parse_dep_line(line: str) -> ModuleFile | None:
    """One line of modules.dep, None for a line that is none: without a colon, or without a module before it."""
    path, colon, needs = line.partition(":")
    name = module_name(path)
    if not colon or not name or line.startswith("#"):
        return None
    names = [module_name(need) for need in needs.split()]
    names.reverse()
    return ModuleFile(name, path, tuple(names))


def parse_builtin(text: str, file: str = "modules.builtin") -> tuple[frozenset[str], list[Problem]]:
    """Parse the names in modules.builtin, and the lines that are none."""
    paths = text.replace("-", "_").split()
    # as module_name, for all lines at once: it is read at every boot
    names = frozenset([path[path.rfind("/") + 1 :].partition(".")[0] for path in paths])
    if "" not in names and len(paths) == text.count("\n"):
        return names, []
    each = frozenset([module_name(line.strip()) for line in text.split("\n")])
    return each - {""}, nameless_lines(text, file)


def parse_softdeps(text: str, file: str = "modules.softdep") -> tuple[tuple[Softdep, ...], list[Problem]]:
    """Parse the lines of modules.softdep, and those that are none."""
    lines, bad = configuration_lines(text, "softdep", file)
    return tuple(softdep(module, words, file, number) for number, module, words in lines), bad


def configuration_lines(
    text: str, keyword: str, file: str
) -> tuple[list[tuple[int, str, list[str]]], list[Problem]]:
    """Split each line `KEYWORD MODULE WORD...` into its number, module and further words; the lines that are none."""
    lines: list[tuple[int, str, list[str]]] = []
    bad: list[Problem] = []
    for number, line in enumerate(text.split("\n"), 1):
        words = line.split()
        if not words or line.startswith("#"):
            continue
        module = underscored(words[1]) if len(words) > 2 and words[0] == keyword else None
        if module is None:
            bad.append(Problem(file, number, f"not `{keyword} MODULE NAME...`: {line[:80]!r}"))
        else:
            lines.append((number, module, words[2:]))
    return lines, bad


def softdep(module: str, words: list[str], file: str, line: int) -> Softdep:
    """Make a softdep from the words behind its module's name; what precedes `pre:` and `post:` is ignored."""
    pre: list[str] = []
    post: list[str] = []
    others: list[str] = []
    into = others
    for word in words:
        if word == "pre:":
            into = pre
        elif word == "post:":
            into = post
        else:
            into.append(word)
    return Softdep(module, tuple(pre), tuple(post), file, line, tuple(others))


def nameless_lines(text: str, file: str) -> list[Problem]:
    """Return the lines of a list of paths that name no module."""
    return [
        Problem(file, number, f"no module's path: {line[:80]!r}")
        for number, line in enumerate(text.split("\n"), 1)
        if line.strip() and not module_name(line.strip())
    ]
