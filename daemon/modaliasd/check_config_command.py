"""`modaliasd check-config`: names file and line of all configuration that does not do what it says.

Looks at modprobe.d, at the policy, /etc/modaliasd/policy.toml, and at the tables of the module tree.

    modaliasd check-config [--root DIR] [--modules-dir DIR]

Exit status: 0 clean, 1 findings. Not on the boot path.
"""

import os

from modaliasd.config import config_files, read_config, read_text
from modaliasd.core.alias import parse_builtin_modinfo, parse_modules_alias
from modaliasd.core.config_check import findings, parameters_in
from modaliasd.core.errors import Problem, UsageError, WorldError
from modaliasd.core.glob import matches
from modaliasd.core.moddep import Dependencies, parse_builtin, parse_modules_dep, parse_softdeps
from modaliasd.core.modprobed import DIRECTORIES
from modaliasd.core.names import text_of, underscored
from modaliasd.core.policy import parse_policy
from modaliasd.core.policy_check import pointless
from modaliasd.core.resolve import Resolver
from modaliasd.paths import POLICY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

USAGE = "usage: modaliasd check-config [--root DIR] [--modules-dir DIR]"


def run(argv: list[str], stdout: "TextIO") -> int:
    """Check the configuration below --root against the modules in --modules-dir.

    Raises UsageError for unknown arguments, WorldError where there are no modules to check against.
    """
    options = _parse(argv)
    root = options.get("--root", "/").rstrip("/")
    modules_dir = options.get("--modules-dir") or _find_modules_dir(root)
    dep = _require(modules_dir, "modules.dep")
    builtin, not_builtin = parse_builtin(_text(modules_dir, "modules.builtin"))
    softdeps, not_softdeps = parse_softdeps(_text(modules_dir, "modules.softdep"))
    aliases = _Aliases(modules_dir)
    resolver = Resolver(read_config(root), Dependencies(dep, builtin), aliases.lookup, softdeps)
    tables = [*parse_modules_dep(dep)[1], *not_builtin, *not_softdeps, *aliases.problems]

    def parameters(module: str) -> frozenset[str] | None:
        file = resolver.dependencies.find(module)
        if file is None:
            return None
        try:
            with open(os.path.join(modules_dir, file.path), "rb") as stream:
                return parameters_in(stream.read())
        except OSError:
            return None

    found = findings(resolver, parameters) + _misplaced(root) + _policy(root, resolver)
    found += [problem._replace(file=f"{modules_dir}/{problem.file}") for problem in tables]
    for problem in found:
        where = f"{problem.file}:{problem.line}" if problem.line else problem.file
        print(f"{where}: {problem.message}", file=stdout)
    files = len(config_files(root)) + os.path.exists(root + POLICY)
    print(f"{len(found)} findings in {files} files, checked against {modules_dir}", file=stdout)
    return 1 if found else 0


def _exists(module: str, resolver: Resolver) -> bool:
    return resolver.dependencies.find(module) is not None or module in resolver.dependencies.builtin


def _parse(argv: list[str]) -> dict[str, str]:
    options: dict[str, str] = {}
    words = iter(argv)
    for word in words:
        name, equals, value = word.partition("=")
        if name not in ("--root", "--modules-dir"):
            raise UsageError(f"check-config does not know {word!r}; {USAGE}")
        value = value if equals else next(words, "")
        if not value:
            raise UsageError(f"{name} wants a directory; {USAGE}")
        options[name] = value
    return options


def _find_modules_dir(root: str) -> str:
    """The running kernel's modules below `root`; if there are none, those of the only kernel there."""
    parent = f"{root}/lib/modules"
    try:
        releases = os.listdir(parent)
    except OSError as error:
        raise WorldError(f"cannot list {parent}: {error.strerror}; give --modules-dir") from error
    running = os.uname().release
    if running in releases:
        return f"{parent}/{running}"
    if len(releases) == 1:
        return f"{parent}/{releases[0]}"
    raise WorldError(f"{parent} has {len(releases)} kernels and not {running}; give --modules-dir")


def _require(modules_dir: str, name: str) -> str:
    try:
        return read_text(f"{modules_dir}/{name}")
    except OSError as error:
        raise WorldError(f"cannot read {modules_dir}/{name}: {error.strerror}; depmod makes it") from error


def _text(modules_dir: str, name: str) -> str:
    try:
        return read_text(f"{modules_dir}/{name}")
    except OSError:
        return ""


def _bytes(modules_dir: str, name: str) -> bytes:
    return _text(modules_dir, name).encode("utf-8", "surrogateescape")


def _misplaced(root: str) -> list[Problem]:
    """Files that look like configuration and that one modprobe or the other does not read."""
    found = []
    for directory in DIRECTORIES:
        try:
            names = sorted(os.listdir(root + directory))
        except OSError:
            continue
        for name in names:
            skipped = name.startswith((".", "README")) or name.endswith("~") or ".conf." in name
            if not skipped and not name.endswith((".conf", ".alias")):
                found.append(Problem(f"{directory}/{name}", 0, "not read: its name does not end in .conf"))
    if os.path.exists(f"{root}/etc/modprobe.conf"):
        message = "read by busybox's modprobe only; move its lines to a file in /etc/modprobe.d"
        found.append(Problem("/etc/modprobe.conf", 0, message))
    return found


def _policy(root: str, resolver: Resolver) -> list[Problem]:
    """What is wrong with the policy: mistakes, which make all of it void, and rules that can never decide."""
    try:
        policy = parse_policy(read_text(root + POLICY), POLICY)
    except FileNotFoundError:
        return []
    except OSError as error:
        return [Problem(POLICY, 0, f"cannot be read, so everything is denied: {error.strerror}")]
    problems = [
        Problem(POLICY, mistake.line, f"{mistake.message}; until that is mended everything is denied")
        for mistake in policy.mistakes
    ]
    problems += [
        Problem(POLICY, line, message)
        for line, message in pointless(policy, lambda name: _exists(name, resolver))
    ]
    return problems


class _Aliases:
    """modules.alias and the built-in modules' aliases, matched one by one: exact and slow."""

    def __init__(self, modules_dir: str) -> None:
        self._rows: list[tuple[str, str, int, bool]] = []
        loadable, bad = parse_modules_alias(_bytes(modules_dir, "modules.alias"))
        inside, more_bad = parse_builtin_modinfo(_bytes(modules_dir, "modules.builtin.modinfo"))
        self.problems = bad + more_bad
        for alias in loadable + inside:
            self._add(alias.module, text_of(alias.pattern), alias.line, not alias.line)

    def _add(self, module: str, pattern: str, line: int, inside: bool) -> None:
        normal = underscored(pattern)
        if normal is not None:
            self._rows.append((module, normal, line, inside))

    def lookup(self, modalias: str) -> list[tuple[str, str, int, bool]]:
        wanted = underscored(modalias)
        return [row for row in self._rows if wanted is not None and matches(row[1], wanted)]
