"""Rules for what modprobe and the daemon search: modules.dep and its companions against the modules that lie there.

What depmod writes follows from the modules alone, so each table is held against their .modinfo. Source: kmod's
tools/depmod.c.
"""

from collections.abc import Iterator

from hostbuild.check.finding import Finding, Maker, error, note
from hostbuild.check.view import ModuleTree, View
from hostbuild.formats.modules.kmodindex import IndexFileError, read
from hostbuild.near import listed
from modaliasd.core.errors import FormatError, Problem
from modaliasd.core.index.format import INDEX_NAME
from modaliasd.core.index.lookup import Index
from modaliasd.core.kmod.invocation import Flavour
from modaliasd.core.kmod.modules_dep import Dependencies, parse_builtin, parse_modules_dep, parse_softdeps
from modaliasd.core.kmod.names import UnbalancedBracketsError, module_name, normalize_alias, text_of
from modaliasd.core.kmod.tables import (
    parse_builtin_modinfo,
    parse_devname,
    parse_modules_alias,
    parse_modules_order,
    parse_symbols,
)

_FIX = "depmod -b ROOT RELEASE, or build the image again"
_SHOWN = 5
_BINARY = (
    "modules.dep.bin",
    "modules.alias.bin",
    "modules.builtin.bin",
    "modules.builtin.alias.bin",
    "modules.symbols.bin",
)
_SOURCES = ("modules.alias", "modules.order", "modules.builtin.modinfo")


def check_indexes(view: View) -> Iterator[Finding]:
    """Check the indexes of the booted kernel's modules."""
    tree = view.tree
    if tree is None or not (tree.modules or tree.tables):
        return
    if "modules.dep" not in tree.tables:
        yield error(
            "index-missing", f"/{tree.path}/modules.dep", "it is not there, so modprobe finds no module", _FIX
        )
        return
    yield from _damaged(tree, error if view.own else note)
    yield from _dep(tree)
    yield from _alias(tree, view)
    yield from _softdeps(tree)
    yield from _devname(tree)
    if view.own:
        yield from _ours(tree)
    if view.modprobe is Flavour.KMOD:
        yield from _binary(tree)


def _damaged(tree: ModuleTree, bad: Maker) -> Iterator[Finding]:
    problems: list[Problem] = []
    table = tree.tables
    problems += parse_modules_dep(text_of(table["modules.dep"]))[1]
    problems += parse_builtin(text_of(table.get("modules.builtin", b"")))[1]
    problems += parse_softdeps(text_of(table.get("modules.softdep", b"")))[1]
    problems += parse_modules_alias(table.get("modules.alias", b""))[1]
    problems += parse_modules_order(table.get("modules.order", b""))[1]
    problems += parse_builtin_modinfo(table.get("modules.builtin.modinfo", b""))[1]
    problems += parse_symbols(text_of(table.get("modules.symbols", b"")))[1]
    problems += parse_devname(text_of(table.get("modules.devname", b"")))[1]
    for one in problems[:_SHOWN]:
        yield bad("index-damaged", f"/{tree.path}/{one.file}:{one.line}", one.message, _FIX)
    if len(problems) > _SHOWN:
        yield bad("index-damaged", f"/{tree.path}", f"and {len(problems) - _SHOWN} more lines", _FIX)


def _dep(tree: ModuleTree) -> Iterator[Finding]:
    place = f"/{tree.path}/modules.dep"
    lines = parse_modules_dep(text_of(tree.tables["modules.dep"]))[0]
    builtin, _ = parse_builtin(text_of(tree.tables.get("modules.builtin", b"")))
    there = {module.inside for module in tree.modules}
    names = {module.name for module in tree.modules}
    gone = [file.path for file in lines.values() if file.path not in there]
    if gone:
        yield error(
            "dep-file-missing",
            place,
            f"it names files that are not there: {listed(gone[:_SHOWN])}{_more(gone)}",
            _FIX,
        )
    lacking = sorted(names - set(lines))
    if lacking:
        yield error(
            "dep-line-missing",
            place,
            f"it has no line for {listed(lacking[:_SHOWN])}{_more(lacking)}, which modprobe does not find",
            _FIX,
        )
    unknown = sorted({need for file in lines.values() for need in file.needs if need not in lines})
    if unknown:
        yield error(
            "dep-need-missing",
            place,
            f"modules need what has no line: {listed(unknown[:_SHOWN])}{_more(unknown)}",
            _FIX,
        )
    short = []
    for module in tree.modules:
        file = lines.get(module.name)
        direct = [
            module_name(name) for value in module.values("depends") for name in value.split(",") if name
        ]
        left = [name for name in direct if name in names and name not in builtin]
        if file is not None and (out := [name for name in left if name not in file.needs]):
            short.append(f"{module.name} ({listed(out)})")
    if short:
        yield error(
            "dep-need-unlisted",
            place,
            f"it leaves out what modules need: {listed(short[:_SHOWN])}{_more(short)}",
            _FIX,
        )
    dependencies = Dependencies(text_of(tree.tables["modules.dep"]), builtin)
    for name in lines:
        if cycle := dependencies.load_order(name).cycle:
            yield error("dep-cycle", place, f"modules depend on one another: {' -> '.join(cycle)}", _FIX)
            break
    if "modules.builtin" not in tree.tables:
        yield error(
            "index-missing",
            f"/{tree.path}/modules.builtin",
            "it is not there, so what is built into the kernel counts as missing",
            _FIX,
        )


def _alias(tree: ModuleTree, view: View) -> Iterator[Finding]:
    place = f"/{tree.path}/modules.alias"
    data = tree.tables.get("modules.alias")
    if data is None:
        # kmod reads modules.alias.bin alone, which images of other tools may have without the text
        binary = view.modprobe is Flavour.KMOD and "modules.alias.bin" in tree.tables and not view.own
        if not binary and any(module.values("alias") for module in tree.modules):
            yield error("index-missing", place, "it is not there, so no device finds its module", _FIX)
        return
    lines = parse_modules_alias(data)[0]
    have = {(_normal(one.pattern), one.module) for one in lines}
    names = {module.name for module in tree.modules}
    lacking = sorted(
        {
            module.name
            for module in tree.modules
            for alias in module.values("alias")
            if (_normal(alias.encode("utf-8", "surrogateescape")), module.name) not in have
        }
    )
    if lacking:
        yield error(
            "alias-missing",
            place,
            f"it lacks aliases of {listed(lacking[:_SHOWN])}{_more(lacking)}: their devices do not find them",
            _FIX,
        )
    vain = sorted({one.module for one in lines} - names)
    if vain:
        yield (error if view.own else note)(
            "alias-vain",
            place,
            f"it names modules that are not there: {listed(vain[:_SHOWN])}{_more(vain)}",
            _FIX,
        )


def _softdeps(tree: ModuleTree) -> Iterator[Finding]:
    soft = parse_softdeps(text_of(tree.tables.get("modules.softdep", b"")))[0]
    have = {one.module.replace("-", "_") for one in soft}
    lacking = sorted(
        module.name for module in tree.modules if module.values("softdep") and module.name not in have
    )
    if lacking:
        yield error(
            "softdep-missing",
            f"/{tree.path}/modules.softdep",
            f"it lacks what is loaded with {listed(lacking[:_SHOWN])}{_more(lacking)}",
            _FIX,
        )
    names = {module.name for module in tree.modules}
    builtin, _ = parse_builtin(text_of(tree.tables.get("modules.builtin", b"")))
    known = names | set(builtin)
    aliases = {text_of(one.pattern) for one in parse_modules_alias(tree.tables.get("modules.alias", b""))[0]}
    aliases |= {
        text_of(one.pattern)
        for one in parse_builtin_modinfo(tree.tables.get("modules.builtin.modinfo", b""))[0]
    }
    aliases = {one.replace("-", "_") for one in aliases}
    for one in soft:
        vain = [word for word in (*one.pre, *one.post) if word.replace("-", "_") not in known | aliases]
        if vain and one.module in names:
            yield note(
                "softdep-vain",
                f"/{tree.path}/modules.softdep:{one.line}",
                f"{one.module} is to be loaded with {listed(vain)}, which the image lacks",
                "add it to --modules, if it is needed",
            )


def _devname(tree: ModuleTree) -> Iterator[Finding]:
    place = f"/{tree.path}/modules.devname"
    nodes = parse_devname(text_of(tree.tables.get("modules.devname", b"")))[0]
    have = {(node.module, node.path) for node in nodes}
    names = {module.name for module in tree.modules}
    lacking = [
        f"{alias.removeprefix('devname:')} ({module.name})"
        for module in tree.modules
        for alias in module.values("alias")
        if alias.startswith("devname:")
        and (module.name, alias.removeprefix("devname:")) not in have
        and any(other.startswith(("char-major-", "block-major-")) for other in module.values("alias"))
    ]
    if lacking:
        yield error(
            "devname-missing",
            place,
            f"it lacks the nodes {listed(lacking[:_SHOWN])}, whose opening would load modules",
            _FIX,
        )
    builtin, _ = parse_builtin(text_of(tree.tables.get("modules.builtin", b"")))
    vain = sorted({node.module for node in nodes} - names - set(builtin))
    if vain:
        yield error(
            "devname-vain",
            place,
            f"it has nodes for modules that are not there: {listed(vain[:_SHOWN])}",
            _FIX,
        )


def _ours(tree: ModuleTree) -> Iterator[Finding]:
    place = f"/{tree.path}/{INDEX_NAME}"
    data = tree.tables.get(INDEX_NAME)
    slow = "so the daemon rebuilds it at each boot"
    if data is None:
        yield error("trie-missing", place, f"it is not there, {slow}", "build the image again")
        return
    try:
        index = Index(data)
        index.verify()
    except FormatError as e:
        yield error("trie-damaged", place, f"it is {e}, {slow}", "build the image again")
        return
    sizes = tuple(len(tree.tables.get(name, b"")) for name in _SOURCES)
    if index.sizes != sizes:
        wrong = [name for name, a, b in zip(_SOURCES, index.sizes, sizes, strict=True) if a != b]
        yield error(
            "trie-stale", place, f"it was made of another {listed(wrong)}, {slow}", "build the image again"
        )
        return
    for module in tree.modules:
        for alias in module.values("alias")[:1]:
            if (
                _normal(alias.encode())
                and not set("*?[") & set(alias)
                and module.name not in {hit.module for hit in index.lookup(alias)}
            ):
                yield error(
                    "trie-stale",
                    place,
                    f"it does not lead from {alias} to {module.name}",
                    "build the image again",
                )
                return


def _binary(tree: ModuleTree) -> Iterator[Finding]:
    """Check what kmod's modprobe reads in place of the text."""
    missing = [name for name in _BINARY[:2] if name not in tree.tables]
    for name in missing:
        yield error(
            "index-missing",
            f"/{tree.path}/{name}",
            "it is not there, and the image's kmod reads nothing else",
            _FIX,
        )
    found = {}
    for name in _BINARY:
        if name in tree.tables:
            try:
                found[name] = read(tree.tables[name])
            except IndexFileError as e:
                yield error("index-damaged", f"/{tree.path}/{name}", str(e), _FIX)
    if "modules.dep.bin" in found:
        lines = parse_modules_dep(text_of(tree.tables["modules.dep"]))[0]
        told = {module_name(key): value for key, value in found["modules.dep.bin"]}
        stale = sorted(set(told) ^ set(lines)) or sorted(
            name for name, file in lines.items() if told[name].partition(":")[0] != file.path
        )
        if stale:
            yield error(
                "index-stale",
                f"/{tree.path}/modules.dep.bin",
                f"it does not say what modules.dep says of {listed(stale[:_SHOWN])}",
                _FIX,
            )
    if "modules.alias.bin" in found and "modules.alias" in tree.tables:
        told_aliases = {
            (_normal(key.encode("utf-8", "surrogateescape")), module_name(value))
            for key, value in found["modules.alias.bin"]
        }
        text = {
            (_normal(one.pattern), one.module) for one in parse_modules_alias(tree.tables["modules.alias"])[0]
        }
        if odd := sorted({module for _, module in told_aliases ^ text}):
            yield error(
                "index-stale",
                f"/{tree.path}/modules.alias.bin",
                f"it does not say what modules.alias says of {listed(odd[:_SHOWN])}",
                _FIX,
            )


def _normal(pattern: bytes) -> bytes:
    try:
        return normalize_alias(pattern)
    except UnbalancedBracketsError:
        return b""


def _more(items: list[str]) -> str:
    return f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
