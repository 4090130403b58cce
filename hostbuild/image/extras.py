"""What an image can have besides: `hostbuild make-image --with audit`.

audit: pyudev, from the environment that hostbuild runs in, with libudev and ctypes, for `modaliasd audit`.
It lies beside the daemon, which is where the daemon's interpreter looks; the boot path imports none of it.
"""

import importlib.util
from collections.abc import Iterable
from enum import Enum
from pathlib import Path

from hostbuild.errors import WorldError
from hostbuild.image import stdlib
from hostbuild.image.cpython import Interpreter
from hostbuild.image.guest import LIBRARY, Source
from hostbuild.image.libraries import library_directory
from hostbuild.image.tree import FileTree


class Extra(Enum):
    """Something that an image has when it is asked for."""

    AUDIT = "audit"


_PACKAGE = "pyudev"
_LIBUDEV = "libudev.so.1"
_FOR_DESKTOPS = {"_qt_base", "glib", "pyqt5", "pyside", "pyside6", "wx"}  # modules of pyudev for GUI loops


def imports(extras: Iterable[Extra], interpreter: Interpreter) -> list[str]:
    """Give the modules of the standard library that the extras import."""
    wanted = [
        one
        for extra in set(extras)
        for source in _sources(extra)
        for one in stdlib.imports(source.text, source.package, inside_functions=False)
        if one.module.partition(".")[0] != _PACKAGE
    ]
    return stdlib.roots(wanted, interpreter.find)


def put_extra(tree: FileTree, extra: Extra, interpreter: Interpreter) -> None:
    """Put what belongs to `extra` into the image."""
    sources = _sources(extra)
    jobs = [(source.text, f"/{LIBRARY}/{source.path}") for source in sources]
    for (_, name), code in zip(jobs, interpreter.compile(jobs), strict=True):
        tree.file(name[1:] + "c", code, group=extra.value, origin=_PACKAGE)
    library = interpreter.libraries.require(_LIBUDEV)
    inside = f"{library_directory(library)}/{_LIBUDEV}"
    tree.file(inside, library, group=extra.value, origin="libudev1", permissions=0o755)
    interpreter.libraries.put(tree, [library], group=extra.value)


def _sources(extra: Extra) -> list[Source]:
    """Read pyudev as it is installed beside hostbuild."""
    assert extra is Extra.AUDIT
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise WorldError(f"the package {_PACKAGE} is not installed beside hostbuild", hint="make setup")
    root = Path(spec.submodule_search_locations[0])
    sources = []
    for path in sorted(root.rglob("*.py")):
        relative = path.relative_to(root)
        if relative.parts[0].removesuffix(".py") in _FOR_DESKTOPS:
            continue
        inside = f"{_PACKAGE}/{relative.as_posix()}"
        name = inside.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        sources.append(Source(name, inside, path.read_bytes()))
    return sources
