"""modules.dep, modules.softdep, modules.builtin: what each module needs, in which order it is inserted.

    kernel/sound/core/snd-pcm.ko: kernel/sound/core/snd-timer.ko kernel/sound/core/snd.ko
    softdep libcrc32c pre: crc32c post: other

A line of modules.dep names all modules that the first one needs, directly or not, the ones to insert first at
its end (depmod writes it so, kmod inserts the reversed list). Paths are relative to the directory of the
file. A module's name is its file's name up to the first dot, with `_` for `-`; `.ko` can be followed by
`.gz`, `.xz` or `.zst`. Source: kmod's libkmod-module.c (kmod_module_parse_depline) and tools/depmod.c.

A full modules.dep has 4,000 lines and half a megabyte, and a machine needs 100 of them: to look at each line costs a
boot more than all that it asks for, so lines are searched in the text, and parsed, when asked for.
"""

from modaliasd.core.fasttypes import NamedTuple

PATH_MAX = 4096  # include/uapi/linux/limits.h


class ModuleFile(NamedTuple):
    """One line of modules.dep. `needs`: the names of the modules it needs, in the order of insertion."""

    name: str
    path: str
    needs: tuple[str, ...] = ()


class Softdep(NamedTuple):
    """Modules to insert before and after `module` (which may be a pattern) where they exist."""

    module: str
    pre: tuple[str, ...]
    post: tuple[str, ...]
    file: str = ""
    line: int = 0


class LoadOrder(NamedTuple):
    """The answer to "what must be inserted for this module": `modules` in order, itself last.

    missing: needed modules that have no line of their own (their file was taken out of the tree).
    cycle: the names around a dependency cycle, first and last the same; such a module cannot be inserted.
    """

    modules: tuple[str, ...]
    missing: tuple[str, ...] = ()
    cycle: tuple[str, ...] = ()


class Dependencies:
    """What modules.dep and modules.builtin tell, parsed as far as it was asked for."""

    def __init__(self, dep_text: str, builtin: frozenset[str] = frozenset()) -> None:
        self.builtin = builtin
        self._text = dep_text
        # The text with `_` for `-` and `/` before every path, one character further on than in the text itself.
        self._paths = f"/{dep_text}".replace("-", "_").replace("\n", "/")
        first, _, _ = dep_text[:PATH_MAX].partition(":")
        # ".ko" or ".ko.xz": most trees have one only
        self._ending = first[first.find(".", first.rfind("/") + 1) :]
        self._found: dict[str, ModuleFile | None] = {}
        self._acyclic: set[str] = set()
        self._orders: dict[str, LoadOrder] = {}

    def find(self, name: str) -> ModuleFile | None:
        """Return the line of the module called `name` (with underscores), None where there is no such module."""
        try:
            return self._found[name]
        except KeyError:
            file = self._found[name] = self._search(name)
            return file

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
        """The first cycle met on the way down from `name`, () where there is none."""
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


def module_name(path: str) -> str:
    """Return the module's name for a path or a file name: "kernel/sound/core/snd-pcm.ko.xz" gives "snd_pcm"."""
    base = path[path.rfind("/") + 1 :]
    dot = base.find(".")
    return (base if dot < 0 else base[:dot]).replace("-", "_")


def parse_dep_line(line: str) -> ModuleFile | None:
    """One line of modules.dep, None for a line without a colon (kmod skips such lines too)."""
    path, colon, needs = line.partition(":")
    if not colon:
        return None
    names = [module_name(need) for need in needs.split()]
    names.reverse()
    return ModuleFile(module_name(path), path, tuple(names))


def parse_builtin(text: str) -> frozenset[str]:
    """Parse the names in modules.builtin."""
    files = [line[line.rfind("/") + 1 :] for line in text.replace("-", "_").split("\n")]
    return frozenset([file.partition(".")[0] for file in files if file])


def parse_softdeps(text: str, file: str = "modules.softdep") -> tuple[Softdep, ...]:
    """Parse the lines of modules.softdep; comments and everything unknown are left out."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if len(words) > 1 and words[0] == "softdep":
            found.append(softdep(words[1].replace("-", "_"), words[2:], file, number))
    return tuple(found)


def parse_symbols(text: str) -> dict[str, str]:
    """modules.symbols: `alias symbol:NAME MODULE` gives {"symbol:NAME": MODULE}."""
    lines = (line.split() for line in text.splitlines())
    return {words[1]: words[2] for words in lines if len(words) == 3 and words[0] == "alias"}


def softdep(module: str, words: list[str], file: str, line: int) -> Softdep:
    """Make a softdep from the words behind its module's name; what precedes `pre:` and `post:` is ignored."""
    pre: list[str] = []
    post: list[str] = []
    into: list[str] | None = None
    for word in words:
        if word == "pre:":
            into = pre
        elif word == "post:":
            into = post
        elif into is not None:
            into.append(word)
    return Softdep(module, tuple(pre), tuple(post), file, line)
