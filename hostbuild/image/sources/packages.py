"""Python packages of the environment that hostbuild runs in, for an image: those of their modules that are needed.

Which these are is the closure of imports (stdlib.py), over the packages and the standard library together. Packages
are found, not imported: what they do when they are imported is nothing that hostbuild needs.
"""

import importlib.util
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hostbuild.errors import WorldError
from hostbuild.image.sources import stdlib
from hostbuild.image.sources.imports import imported
from hostbuild.image.sources.stdlib import Closure, Found, Origin


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an image wants of packages.

    modules: what the guest imports. packages: their top-level names. replaced: sources that stand in for modules of
    the packages. without: modules that are not carried, though modules of the standard library try to import them.
    """

    modules: tuple[str, ...]
    packages: tuple[str, ...]
    replaced: Mapping[str, bytes] = field(default_factory=dict)
    without: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Brought:
    """The answer: modules of the packages, by name, and what they need of the standard library."""

    modules: dict[str, Found]
    library: Closure


def bring(
    wanted: Wanted,
    find_in_library: Callable[[str], Found | None],
    read: stdlib.Reader = imported,
) -> Brought:
    """Follow the imports, which `read` reads. Raises WorldError where a package, or a module of it, is not there."""
    roots = {package: _directory(package) for package in wanted.packages}

    def find(name: str) -> Found | None:
        top, _, rest = name.partition(".")
        if top not in roots:
            return find_in_library(name)
        found = _module(roots[top], rest)
        source = wanted.replaced.get(name)
        return found if found is None or source is None else Found(found.origin, found.path, source)

    closure = stdlib.close(wanted.modules, find, wanted.without, read)
    gone = [name for name in wanted.modules if name in closure.missing]
    if gone:
        raise WorldError(
            f"the package {gone[0].partition('.')[0]} that is installed beside hostbuild has no module {gone[0]}",
            hint="constraints.txt names the version that was tested; make setup",
        )
    ours = {name: found for name, found in closure.modules.items() if name.partition(".")[0] in roots}
    library = {name: found for name, found in closure.modules.items() if name not in ours}
    return Brought(ours, Closure(library, closure.missing))


def paths(modules: Iterable[tuple[str, Found]]) -> list[tuple[bytes, str]]:
    """Return source and path of each module, the path relative to the directory that packages lie in."""
    return [
        (found.source, name.replace(".", "/") + ("/__init__.py" if found.is_package else ".py"))
        for name, found in modules
    ]


def _directory(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise WorldError(f"the package {package} is not installed beside hostbuild", hint="make setup")
    return Path(spec.submodule_search_locations[0])


def _module(root: Path, rest: str) -> Found | None:
    place = root / rest.replace(".", "/") if rest else root
    for path in (place / "__init__.py", place.with_suffix(".py")):
        if path.is_file() and (rest or path.parent == root):
            return Found(Origin.SOURCE, path, path.read_bytes())
    return None
