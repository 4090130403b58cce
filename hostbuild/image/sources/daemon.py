"""The daemon and the agent as the image carries them: compiled, below /usr/lib/modaliasd, and what starts them."""

import importlib.util
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hostbuild.errors import InputError
from hostbuild.image.filetree import FileTree
from hostbuild.image.sources import stdlib
from hostbuild.image.sources.bootpath import joined
from hostbuild.image.sources.bootpath.called import CALLED
from hostbuild.image.sources.cpython import Interpreter

# Protocols for the type checker, which no process imports; what they import of the library would come along
_TYPES_ONLY = "modaliasd.service.ports"
_GROUPS = {"modaliasd": "daemon", "microagent": "agent"}  # our packages -> their rows in the manifest
LIBRARY = "usr/lib/modaliasd"  # in the image; what lies here the daemon can import

# -S, -s and -P spare the start-up a search for site-packages and keep the directory of the caller out;
# the environment counts, since /init may fix the hash seed there (PYTHONHASHSEED)
_START = """#!/usr/bin/python{version} -SsP
import sys
sys.path.insert(0, "/{library}")
{preload}from {module} import main
sys.exit(main(sys.argv[1:]))
"""
# What the daemon itself needs is in one file, in the order in which it is imported, which spares it some 60 searches,
# and as many files to open (bootpath/joined.py); what it imports once the first modprobe has been started is in another
# one, in the place of LATER. The other commands take each module from its own file.
_PRELOAD = """if sys.argv[1:] in (["run"], ["root", "--run"]):
    import gc
    gc.disable()
    import {joined}
"""
JOINED = "modaliasd_boot"
BOOT_PATH = ("modaliasd.cli", "modaliasd.service.boot")
LATER = "modaliasd.service.ears"


@dataclass(frozen=True, slots=True)
class ModuleSource:
    """A module of our packages. path: relative to the directory that holds the package."""

    name: str
    path: str
    text: bytes

    @property
    def group(self) -> str:
        """What it belongs to in the image."""
        return _GROUPS[self.name.partition(".")[0]]

    @property
    def package(self) -> str:
        """The package that the module's relative imports start from."""
        return self.name if self.path.endswith("/__init__.py") else self.name.rpartition(".")[0]


def require_sources() -> list[ModuleSource]:
    """Read our packages, from where Python would import them: a checkout or an installation.

    Without what only a type checker reads.
    """
    sources = []
    for package in _GROUPS:
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise InputError(f"the package {package} is not installed beside hostbuild", hint="make setup")
        root = Path(spec.submodule_search_locations[0])
        for path in sorted(root.rglob("*.py")):
            relative = f"{package}/{path.relative_to(root).as_posix()}"
            name = relative.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            if name != _TYPES_ONLY and not name.startswith(f"{_TYPES_ONLY}."):
                sources.append(ModuleSource(name, relative, path.read_bytes()))
    return sources


def imports(sources: list[ModuleSource], interpreter: Interpreter) -> list[str]:
    """Return the modules outside of our packages that these import, wherever the import stands."""
    found = interpreter.imported_by([(source.text, source.package) for source in sources])
    wanted = [
        stdlib.Import(module, name)
        for one in found
        for module, name in one
        if module.partition(".")[0] not in _GROUPS
    ]
    return stdlib.roots(wanted, interpreter.find)


def script_imports(sources: Iterable[bytes], interpreter: Interpreter) -> list[str]:
    """Return the standard library's modules that scripts of an overlay import.

    What else they import has to be in the overlay, too. A file that is no Python 3 imports nothing.
    """
    wanted: list[stdlib.Import] = []
    for source in sources:
        with suppress(SyntaxError, ValueError):
            wanted += stdlib.imports(source, "", inside_functions=True, read=interpreter.imported)
    return [name for name in stdlib.roots(wanted, interpreter.find) if interpreter.find(name) is not None]


def joined_files(sources: list[ModuleSource], interpreter: Interpreter) -> dict[str, bytes]:
    """Return the files of which each holds many modules: place below LIBRARY -> content of a .pyc file."""
    ours = {
        source.name: (source.text, f"/{LIBRARY}/{source.path}", source.path.endswith("/__init__.py"))
        for source in sources
    }
    ears = f"{LATER.replace('.', '/')}.pyc"
    boot, rest = interpreter.join(BOOT_PATH, ours, f"{JOINED}.pyc", called=CALLED)
    heard, _ = interpreter.join((LATER,), ours, ears, BOOT_PATH)
    return {f"{JOINED}.pyc": boot, f"{JOINED}{joined.LATER}.pyc": rest, ears: heard}


def put_daemon(tree: FileTree, sources: list[ModuleSource], interpreter: Interpreter) -> None:
    """Put the compiled packages, the boot path as one file, and the programs in /usr/bin into the image.

    In an interpreter of our own (own.py) the packages are frozen already.
    """
    if interpreter.own is None:
        jobs = [(source.text, f"/{LIBRARY}/{source.path}") for source in sources if source.name != LATER]
        groups = [source.group for source in sources if source.name != LATER]
        for group, (_, name), code in zip(groups, jobs, interpreter.compile(jobs), strict=True):
            tree.file(name[1:] + "c", code, group=group, origin="modaliasd")
        for place, content in joined_files(sources, interpreter).items():
            tree.file(f"{LIBRARY}/{place}", content, group="daemon", origin="modaliasd")
    preload = _PRELOAD.format(joined=JOINED)
    for program, module, before in (
        ("modaliasd", "modaliasd.cli", preload),
        ("microagent", "microagent.agent", ""),
    ):
        script = start_script(interpreter, module, preload=before)
        group = _GROUPS[program]
        tree.file(f"usr/bin/{program}", script, group=group, origin="modaliasd", permissions=0o755)


def start_script(interpreter: Interpreter, module: str, *, preload: str = "") -> bytes:
    """Return a program of the image that runs main() of a module below /usr/lib/modaliasd."""
    text = _START.format(version=interpreter.version, library=LIBRARY, module=module, preload=preload)
    return text.encode()
