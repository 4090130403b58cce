"""The finished tree, read as the guest will read it: modules.dep with its files, and modprobe.d with both.

What cannot be as it was meant is an error: a line without its file, a module without its line. What modprobe.d asks
for and the image has not is told of: a softdep that leads nowhere is no failure in the guest either.
"""

from collections.abc import Iterable, Mapping

from hostbuild.errors import WorldError
from hostbuild.image.filetree import FileTree, NodeKind
from hostbuild.image.modules.configured import ModprobeD
from hostbuild.image.modules.module import Module
from hostbuild.near import listed
from modaliasd.core.index.lookup import Index
from modaliasd.core.kmod.glob import is_wildcard, matches
from modaliasd.core.kmod.modules_dep import Dependencies, parse_builtin, parse_modules_dep
from modaliasd.core.kmod.names import text_of
from modaliasd.core.kmod.resolve import Resolver


def check_files(tree: FileTree, version: str, dep: bytes, carried: Iterable[Module]) -> None:
    """Hold modules.dep against the files that lie in an image. Raises WorldError where they do not agree."""
    lines, problems = parse_modules_dep(text_of(dep))
    base = f"usr/lib/modules/{version}"
    gone = [file.path for file in lines.values() if not _is_file(tree, f"{base}/{file.path}")]
    lacking = [module.name for module in carried if module.name not in lines]
    needed = {need for file in lines.values() for need in file.needs if need not in lines}
    for what, names in (
        ("modules.dep names files that are not in the image:", gone),
        ("modules.dep has no line for", lacking),
        ("modules.dep has no line for what others need:", sorted(needed)),
        ("modules.dep is damaged:", [problem.message for problem in problems]),
    ):
        if names:
            raise WorldError(f"the image of kernel {version} would not work: {what} {listed(names[:5])}")


def check_configuration(modprobe_d: ModprobeD, indexes: Mapping[str, bytes], index: Index) -> list[str]:
    """Say what of modprobe.d will come to nothing in the guest, each with its file and line.

    indexes: the image's, by name; index: its modules.alias, searched as the daemon does.
    """
    lines = modprobe_d.lines
    builtin, _ = parse_builtin(text_of(indexes["modules.builtin"]))
    dependencies = Dependencies(text_of(indexes["modules.dep"]), builtin)
    resolver = Resolver(lines, dependencies, index.lookup)
    carried = parse_modules_dep(text_of(indexes["modules.dep"]))[0]
    warnings = [f"{one.file}:{one.line}: {one.message}" for one in lines.problems]
    for soft in lines.softdeps:
        here = [n for n in carried if matches(soft.module, n)] if is_wildcard(soft.module) else [soft.module]
        if any(name in carried for name in here):
            vain = [word for word in (*soft.pre, *soft.post) if not resolver.find(word)[1]]
            warnings += [
                f"{soft.file}:{soft.line}: softdep {soft.module}: there is no {word}" for word in vain
            ]
    for alias in lines.aliases:
        known = alias.module in carried or alias.module in builtin or resolver.install_command(alias.module)
        if not known and alias.module != "off":
            warnings.append(f"{alias.file}:{alias.line}: alias {alias.pattern}: there is no {alias.module}")
    return warnings


def _is_file(tree: FileTree, path: str) -> bool:
    entry = tree.resolve(path)
    return entry is not None and entry.kind is NodeKind.FILE
