"""The command `check-config`: names file and line of all configuration that does not do what it says.

Looks at modprobe.d and at the policy, /etc/modaliasd/policy.toml. Not on the boot path.
"""

import os
import sys

from modaliasd.commands.options import Option, Syntax, parse
from modaliasd.core.errors import WorldError
from modaliasd.core.kmod.check import findings, parameters_in
from modaliasd.core.kmod.glob import matches
from modaliasd.core.kmod.modprobe_d import DIRECTORIES, Problem, underscored
from modaliasd.core.kmod.modules_dep import Dependencies, parse_builtin, parse_softdeps
from modaliasd.core.kmod.resolve import Resolver
from modaliasd.core.policy.check import pointless
from modaliasd.core.policy.rules import parse_policy
from modaliasd.core.settings import parse_settings
from modaliasd.linux.config import config_files, read_command_line, read_config, read_text
from modaliasd.linux.paths import POLICY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

CHECK_CONFIG = Syntax(
    "check-config",
    """\
Checks modprobe.d, the `modaliasd.*` words of the kernel's command line, and /etc/modaliasd/policy.toml against
the modules that are there. Prints FILE:LINE and what is wrong for everything that does not do what it says.
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
    ),
    statuses="0 if everything is right, 1 if there are findings",
)


def run(arguments: list[str]) -> int:
    """Check the configuration; 1 if there are findings."""
    return check(arguments, sys.stdout)


def check(arguments: list[str], stdout: "TextIO") -> int:
    """Check the configuration below --root against the modules in --modules-dir.

    Raises UsageError for unknown arguments, WorldError where there are no modules to check against.
    """
    given = parse(CHECK_CONFIG, arguments)
    root = given.value("--root", "/").rstrip("/")
    modules_dir = given.value("--modules-dir", "") or _find_modules_dir(root)
    command_line = read_command_line(root)
    resolver = Resolver(
        read_config(root, command_line),
        Dependencies(
            _require(modules_dir, "modules.dep"), parse_builtin(_text(modules_dir, "modules.builtin"))
        ),
        _Aliases(modules_dir).lookup,
        parse_softdeps(_text(modules_dir, "modules.softdep")),
    )

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
    found += parse_settings(command_line).problems
    for problem in found:
        where = f"{problem.file}:{problem.line}" if problem.line else problem.file
        print(f"{where}: {problem.message}", file=stdout)
    files = len(config_files(root)) + os.path.exists(root + POLICY)
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
        for number, line in enumerate(_text(modules_dir, "modules.alias").split("\n"), 1):
            words = line.split(" ")
            if words[0] == "alias" and len(words) > 2:
                self._add(words[-1], " ".join(words[1:-1]), number, False)
        for entry in _text(modules_dir, "modules.builtin.modinfo").split("\0"):
            name, _, pattern = entry.partition("=")
            if name.endswith(".alias"):
                self._add(name[: -len(".alias")], pattern, 0, True)

    def _add(self, module: str, pattern: str, line: int, inside: bool) -> None:
        normal = underscored(pattern)
        if normal is not None:
            self._rows.append((module, normal, line, inside))

    def lookup(self, modalias: str) -> list[tuple[str, str, int, bool]]:
        wanted = underscored(modalias)
        return [row for row in self._rows if wanted is not None and matches(row[1], wanted)]
