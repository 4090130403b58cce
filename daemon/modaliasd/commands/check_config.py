"""The command `check-config`: names file and line of all configuration that does not do what it says.

Looks at modprobe.d, at the policy, /etc/modaliasd/policy.toml, at the words of the kernel's command line, and at
the tables of the module tree. Not on the boot path.
"""

from __future__ import annotations

import os
import sys

from modaliasd.commands.options import JSON_OPTION, Option, Syntax, parse
from modaliasd.core.errors import Problem, WorldError
from modaliasd.core.kmod.check import findings, parameters_in
from modaliasd.core.kmod.check_commands import Programs
from modaliasd.core.kmod.glob import matches
from modaliasd.core.kmod.modprobe_d import DIRECTORIES
from modaliasd.core.kmod.modules_dep import Dependencies, parse_builtin, parse_modules_dep, parse_softdeps
from modaliasd.core.kmod.modules_load import DIRECTORIES as LIST_DIRECTORIES
from modaliasd.core.kmod.names import text_of, underscored
from modaliasd.core.kmod.plan import Stage
from modaliasd.core.kmod.resolve import Resolver
from modaliasd.core.kmod.tables import parse_builtin_modinfo, parse_modules_alias
from modaliasd.core.policy.check import pointless
from modaliasd.core.policy.rules import parse_policy
from modaliasd.core.printable import printable
from modaliasd.core.settings import parse_settings
from modaliasd.linux.config import config_files, read_command_line, read_config, read_text
from modaliasd.linux.named.lists import list_files, read_modules_load
from modaliasd.linux.paths import POLICY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

CHECK_CONFIG = Syntax(
    "check-config",
    """\
Checks modprobe.d, the `modaliasd.*` words of the kernel's command line, and /etc/modaliasd/policy.toml against
the modules that are there, and the tables of the module tree (modules.dep, .alias, .softdep, .builtin). Prints
FILE:LINE and what is wrong for everything that does not do what it says.
""",
    (
        ("check-config", "check this machine"),
        ("check-config --root image/ --modules-dir image/lib/modules/6.1.0", "check a tree of files"),
    ),
    (
        Option("--root", "check the files below DIR; default: /", "DIR"),
        Option(
            "--modules-dir",
            "the module tree; default: the running kernel's, or the only one, below --root",
            "DIR",
        ),
        JSON_OPTION,
    ),
    statuses="0 if everything is right, 1 if there are findings",
)


def run(arguments: list[str]) -> int:
    """Check the configuration; 1 if there are findings."""
    return check(arguments, sys.stdout)


def check(arguments: list[str], stdout: TextIO) -> int:
    """Check the configuration below --root against the modules in --modules-dir.

    Raises UsageError for unknown arguments, WorldError where there are no modules to check against.
    """
    given = parse(CHECK_CONFIG, arguments)
    root = given.value("--root", "/").rstrip("/")
    modules_dir = given.value("--modules-dir", "") or _find_modules_dir(root)
    command_line = read_command_line(root)
    dep = _require(modules_dir, "modules.dep")
    builtin, not_builtin = parse_builtin(_text(modules_dir, "modules.builtin"))
    softdeps, not_softdeps = parse_softdeps(_text(modules_dir, "modules.softdep"))
    aliases = _Aliases(modules_dir)
    resolver = Resolver(read_config(root, command_line), Dependencies(dep, builtin), aliases.lookup, softdeps)
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

    found = findings(resolver, parameters, _programs(root)) + _misplaced(root) + _policy(root, resolver)
    found += _listed(root, command_line, resolver)
    found += parse_settings(command_line).problems
    found += [problem._replace(file=f"{modules_dir}/{problem.file}") for problem in tables]
    files = len(config_files(root)) + len(list_files(root)) + os.path.exists(root + POLICY)
    if given.given("--json"):
        from json import dumps

        rows = [problem._asdict() for problem in found]
        print(dumps({"modules_dir": modules_dir, "files": files, "findings": rows}), file=stdout)
        return 1 if found else 0
    for problem in found:
        where = f"{problem.file}:{problem.line}" if problem.line else problem.file
        print(printable(f"{where}: {problem.message}"), file=stdout)
    counts = f"{len(found)} finding{'s' * (len(found) != 1)} in {files} file{'s' * (files != 1)}"
    print(f"{counts}, checked against {modules_dir}", file=stdout)
    return 1 if found else 0


def _exists(module: str, resolver: Resolver) -> bool:
    return resolver.dependencies.find(module) is not None or module in resolver.dependencies.builtin


def _find_modules_dir(root: str) -> str:
    """Find the running kernel's modules below `root`; if there are none, those of the only kernel there."""
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
    raise WorldError(
        f"{parent} has {len(releases)} kernels, none of them the running {running}; give --modules-dir"
    )


def _require(modules_dir: str, name: str) -> str:
    try:
        return read_text(f"{modules_dir}/{name}")
    except OSError as error:
        raise WorldError(
            f"cannot read {modules_dir}/{name}: {error.strerror}; create it with depmod"
        ) from error


def _text(modules_dir: str, name: str) -> str:
    try:
        return read_text(f"{modules_dir}/{name}")
    except OSError:
        return ""


def _bytes(modules_dir: str, name: str) -> bytes:
    return _text(modules_dir, name).encode("utf-8", "surrogateescape")


def _misplaced(root: str) -> list[Problem]:
    """Files that look like configuration and that one modprobe or the other does not read."""
    found = _hidden(root)
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


def _hidden(root: str) -> list[Problem]:
    """Files that count for nothing, because one of the same name stands in an earlier directory."""
    found = []
    for directories in (DIRECTORIES, LIST_DIRECTORIES):
        first: dict[str, str] = {}
        for directory in _different(root, directories):
            try:
                names = sorted(os.listdir(root + directory))
            except OSError:
                continue
            for name in names:
                path = f"{directory}/{name}"
                before = first.setdefault(name, path)
                if before == path or not name.endswith((".conf", ".alias")) or name.startswith("."):
                    continue
                try:
                    same = os.path.samefile(root + before, root + path)
                    meant = same or not os.path.getsize(root + before)  # an empty one is there to hide
                except OSError:
                    meant = False
                if not meant:
                    found.append(Problem(path, 0, f"not read: {before} has the same name, and goes first"))
    return found


def _different(root: str, directories: tuple[str, ...]) -> list[str]:
    """Return the directories, without those that are another by a link: /lib is /usr/lib."""
    first: dict[str, str] = {}
    for directory in directories:
        first.setdefault(os.path.realpath(root + directory), directory)
    return list(first.values())


def _listed(root: str, command_line: str, resolver: Resolver) -> list[Problem]:
    """Return what modules-load.d and /etc/modules name, and is not there, or is denied."""
    listed, problems = read_modules_load(command_line, root)
    for entry in listed:
        plan = resolver.resolve(entry.name)
        if plan.stage is Stage.NONE:
            message = f"nothing is called {entry.name}, by name or by alias"
        elif plan.denied:
            denial = plan.denied[0]
            message = f"{entry.name} is not loaded: {denial.by.value}, {denial.file}:{denial.line}"
        elif entry.options and plan.builtin:
            message = f"{entry.name} is built into the kernel, and takes no options here: {entry.options}"
        else:
            continue
        problems.append(Problem(entry.file, entry.line, message))
    for directory in _different(root, LIST_DIRECTORIES):
        try:
            names = sorted(os.listdir(root + directory))
        except OSError:
            continue
        problems += [
            Problem(f"{directory}/{name}", 0, "not read: its name does not end in .conf")
            for name in names
            if not name.startswith((".", "README")) and not name.endswith((".conf", "~"))
        ]
    return problems


def _programs(root: str) -> Programs | None:
    """Return what commands can run below `root`; None where that is no tree with programs."""
    if not os.path.lexists(f"{root}/bin/sh"):
        return None
    modprobe = f"{root}/sbin/modprobe"
    busybox = os.path.islink(modprobe) and os.readlink(modprobe).endswith("busybox")
    return Programs(lambda path: os.path.lexists(root + path), busybox)


def _policy(root: str, resolver: Resolver) -> list[Problem]:
    """List what is wrong with the policy: mistakes, which make all of it void, and rules that can never decide."""
    try:
        policy = parse_policy(read_text(root + POLICY), POLICY)
    except FileNotFoundError:
        return []
    except OSError as error:
        return [Problem(POLICY, 0, f"cannot be read, so everything is denied: {error.strerror}")]
    problems = [
        Problem(POLICY, mistake.line, f"{mistake.message}; until that is fixed everything is denied")
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
