"""How strong the tests are: mutants of the guest's core and loop, each held against the tests that concern its module.

    make mutants [SAMPLE=200] [SEED=1] [MODULES="scheduler rules"] [JOBS=2]

A mutant is a module with one small thing changed (`<` to `<=`, an argument left out, a value that becomes None). The
tests should notice: a mutant that survives is a missing test, or a line that can go. The operators are mutmut's
(mutmut.mutation.mutators). Its runner is not used: it finds a module's tests by wrapping functions under the name that
a file's path gives them (`daemon.modaliasd.core...`, while all import `modaliasd.core...`), leaves out what stands
outside of functions, such as the table of settlement.py, and has no sample that can be repeated.

The tests run in a copy of the tree, so that no mutant ever stands in yours, each in a process forked from one that
has imported pytest and the libraries. mutants.toml says which tests concern which module, and which mutants are
equivalent, with the reason. Chance takes no part: the sample follows from the seed, and Hypothesis is derandomized.
"""

import argparse
import contextlib
import importlib
import importlib.util
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import libcst as cst
import pytest
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation import mutators

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "scripts/mutants.toml"
COPIED = ("daemon", "hostbuild", "tests", "scripts", "rootfs-overlay", "docs", "pyproject.toml")
# What tests import besides the project: imported once, before the first fork.
LIBRARIES = (
    "hypothesis",
    "jsonschema",
    "click",
    "rich.console",
    "elftools.elf.elffile",
    "zstandard",
    "qemu.qmp",
)
# Of a string's three mutants (XX around it, lower case, upper case) the first is enough.
OPERATORS: Sequence[tuple[type[cst.CSTNode], Callable[..., Iterable[cst.CSTNode]], int | None]] = [
    (node, operator, 1 if operator is mutators.operator_string else None)
    for node, operator in mutators.mutation_operators
]
# Words for people, which a test could only repeat; and another value that is as false as the one before.
SENTENCE = re.compile(r"[A-Za-z]+ [A-Za-z]+")
FALSE = ("None", "False", '""', "0", "()")
MEMORY = 2 << 30  # bytes of address space: a mutant may collect for ever
POLL_S = 0.005


class Fate(Enum):
    """What became of a mutant."""

    KILLED = "killed"
    TIMEOUT = "timeout"  # killed as well: the tests would not end
    SURVIVED = "survived"
    EQUIVALENT = "equivalent"  # survived, and listed in mutants.toml with the reason


@dataclass(frozen=True, slots=True)
class Target:
    """A module and the tests that concern it, quickest first. silent_enums: nobody reads the values of its enums."""

    name: str
    path: str
    tests: tuple[str, ...]
    silent_enums: bool = False


@dataclass(frozen=True, slots=True)
class Equivalent:
    """A mutant that nobody could tell from the original: the line as it was, as it is, and why."""

    module: str
    was: str
    becomes: str


@dataclass(slots=True)
class Mutant:
    """A module with one thing changed. line: from 1. was, becomes: the changed lines without indentation."""

    target: Target
    line: int
    was: str
    becomes: str
    source: str

    def __str__(self) -> str:
        return f"{self.target.path}:{self.line}\n    - {self.was}\n    + {self.becomes}"


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """A mutant that is not made yet, which takes some 20 ms. tree: the module as it is. line: of the node, from 1."""

    target: Target
    tree: cst.Module
    node: cst.CSTNode
    replacement: cst.CSTNode
    line: int

    def make(self) -> Mutant:
        """Make the mutant."""
        changed = self.tree.deep_replace(self.node, self.replacement)
        assert isinstance(changed, cst.Module)
        was, becomes = _difference(self.tree.code, changed.code)
        return Mutant(self.target, self.line, was, becomes, changed.code)


@dataclass(slots=True)
class Slot:
    """A copy of the tree in which one mutant at a time is tested."""

    root: Path
    pid: int = 0
    mutant: Mutant | None = None
    deadline: float = 0.0


def main() -> int:
    """Make mutants, test them, print a table and the survivors. Status 1 if one survived that is not equivalent."""
    options = _options()
    targets, equivalents = read_config(options.modules)
    everything = [change for target in targets for change in changes_of(target)]
    chosen = [change.make() for change in sample(everything, options.sample, options.seed)]
    print(
        f"{len(everything)} mutants of {len(targets)} modules; {len(chosen)} of them are tested, seed {options.seed}"
    )
    sys.stdout.flush()  # or each fork would have it to say
    for name in LIBRARIES:
        importlib.import_module(name)
    with tempfile.TemporaryDirectory(prefix="mutants-") as scratch:
        slots = [Slot(copy_tree(Path(scratch) / str(number))) for number in range(options.jobs)]
        limits = {target.name: 15 + 4 * baseline(slots[0], target) for target in targets}
        fates: list[tuple[Mutant, Fate]] = []
        for mutant, fate in run_all(chosen, slots, limits):
            if (
                fate is Fate.SURVIVED
                and Equivalent(mutant.target.name, mutant.was, mutant.becomes) in equivalents
            ):
                fate = Fate.EQUIVALENT
            fates.append((mutant, fate))
            if fate is Fate.SURVIVED:
                print(f"survived ({len(fates)}/{len(chosen)}): {mutant}", flush=True)
            elif sys.stdout.isatty():
                print(f"{len(fates)}/{len(chosen)}", end="\r", flush=True)
    print(table(targets, fates))
    return int(any(fate is Fate.SURVIVED for _, fate in fates))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Test how strong the tests are, by mutants of the guest's core."
    )
    parser.add_argument("--sample", type=int, default=200, metavar="N", help="how many are tested; 0: all")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="another seed, another sample")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="how many at a time"
    )
    parser.add_argument(
        "modules", nargs="*", metavar="MODULE", help="names in mutants.toml; all where none is given"
    )
    return parser.parse_args()


def read_config(wanted: Sequence[str]) -> tuple[list[Target], set[Equivalent]]:
    """Read mutants.toml. Ends with a message for a module that it does not have."""
    with CONFIG.open("rb") as stream:
        config = tomllib.load(stream)
    modules: dict[str, dict[str, object]] = config["module"]
    if unknown := set(wanted) - modules.keys():
        sys.exit(f"mutants: unknown module {', '.join(sorted(unknown))}; known: {', '.join(modules)}")
    targets = []
    for name, entry in modules.items():
        tests = entry["tests"]
        assert isinstance(tests, list)
        if not wanted or name in wanted:
            targets.append(Target(name, str(entry["path"]), tuple(tests), bool(entry.get("silent_enums"))))
    return targets, {
        Equivalent(each["module"], each["was"], each["becomes"]) for each in config.get("equivalent", [])
    }


def sample(changes: list[Change], size: int, seed: int) -> list[Change]:
    """Choose `size` of the changes, all for 0; the same ones for the same seed, in the order of the sources."""
    if not size or size >= len(changes):
        return changes
    chosen = random.Random(seed).sample(range(len(changes)), size)  # noqa: S311 - no secret
    return [changes[at] for at in sorted(chosen)]


def changes_of(target: Target) -> list[Change]:
    """Return all changes to a module, in the order of its source."""
    text = (ROOT / target.path).read_text(encoding="utf-8")
    wrapper = MetadataWrapper(cst.parse_module(text), unsafe_skip_copy=True)
    positions = wrapper.resolve(PositionProvider)
    found = _Finder(enums=not target.silent_enums)
    wrapper.module.visit(found)
    changes = [
        Change(target, wrapper.module, node, replacement, positions[node].start.line)
        for node, replacement in found.changes
    ]
    return sorted(changes, key=lambda change: change.line)


class _Finder(cst.CSTVisitor):
    """Collects what the operators would change: no docstrings, annotations, nor what only a type checker reads."""

    def __init__(self, *, enums: bool) -> None:
        super().__init__()
        self._enums = enums
        self.changes: list[tuple[cst.CSTNode, cst.CSTNode]] = []

    def visit_Annotation(self, node: cst.Annotation) -> bool:  # noqa: ARG002, N802 - libcst's name
        return False

    def visit_ClassDef(self, node: cst.ClassDef) -> bool:  # noqa: N802 - libcst's name
        bases = [base.value.value for base in node.bases if isinstance(base.value, cst.Name)]
        return self._enums or "Enum" not in bases

    def visit_If(self, node: cst.If) -> bool:  # noqa: N802 - libcst's name
        return not (isinstance(node.test, cst.Name) and node.test.value == "TYPE_CHECKING")

    def visit_ImportFrom(self, node: cst.ImportFrom) -> bool:  # noqa: ARG002, N802 - libcst's name
        return False

    def visit_Assign(self, node: cst.Assign) -> bool:  # noqa: N802 - libcst's name
        names = {target.target.value for target in node.targets if isinstance(target.target, cst.Name)}
        return not names & {"TYPE_CHECKING", "__slots__"}

    def on_visit(self, node: cst.CSTNode) -> bool:
        """Collect the node's changes, then go on below it."""
        if not super().on_visit(node):
            return False
        if isinstance(node, cst.Expr) and isinstance(node.value, cst.SimpleString):
            return False  # a docstring
        for kind, operator, most in OPERATORS:
            if isinstance(node, kind) and not _is_vain(node):
                self.changes += [(node, replacement) for replacement in list(operator(node))[:most]]
        return True


def _is_vain(node: cst.CSTNode) -> bool:
    """Tell of a change that nobody should test for: of a sentence, or of a value that is false into another."""
    if isinstance(node, cst.SimpleString):
        return bool(SENTENCE.search(node.value))
    value = node.value if isinstance(node, cst.Assign | cst.AnnAssign) else None
    return value is not None and cst.Module([]).code_for_node(value) in FALSE


def _difference(before: str, after: str) -> tuple[str, str]:
    """Return the lines that differ, joined, without what they have in common at both ends."""
    old, new = before.splitlines(), after.splitlines()
    while old and new and old[0] == new[0]:
        del old[0], new[0]
    while old and new and old[-1] == new[-1]:
        del old[-1], new[-1]
    return " ".join(map(str.strip, old)), " ".join(map(str.strip, new))


def copy_tree(to: Path) -> Path:
    """Copy what the tests need of the project."""
    to.mkdir()
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, to / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, to / name)
    return to


def baseline(slot: Slot, target: Target) -> float:
    """Run a module's tests as they are; return the seconds they took. Ends with their output if they fail."""
    begun = time.monotonic()
    pid = start_tests(slot, target)
    _, status = os.waitpid(pid, 0)
    if os.waitstatus_to_exitcode(status):
        sys.exit(
            f"mutants: the tests of {target.name} fail as they are:\n{(slot.root / 'output').read_text()[-3000:]}"
        )
    return time.monotonic() - begun


def start_tests(slot: Slot, target: Target) -> int:
    """Fork a process that runs the module's tests in the slot's copy, up to the first that fails; return its pid."""
    pid = os.fork()
    if pid:
        return pid
    status = 70
    try:
        os.setpgid(0, 0)  # with all that the tests start, so that none stays
        output = os.open(slot.root / "output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        for descriptor in (1, 2):
            os.dup2(output, descriptor)
        os.chdir(slot.root)
        sys.path[:] = [entry for entry in sys.path if not entry.startswith(f"{ROOT}/") or ".venv" in entry]
        os.environ["PYTHONPATH"] = f"{slot.root}:{slot.root}/daemon"  # for what the tests start
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        words = [
            "-q",
            "-x",
            "--hypothesis-profile=same",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:xdist",
            "-p",
            "no:cov",
        ]
        status = int(pytest.main([*words, f"--basetemp={slot.root / 'tmp'}", *target.tests]))
    finally:
        os._exit(status)


def run_all(
    mutants: Sequence[Mutant], slots: Sequence[Slot], limits: dict[str, float]
) -> Iterator[tuple[Mutant, Fate]]:
    """Test each mutant in the next slot that is free; yield what became of it."""
    waiting = iter(mutants)
    busy = [slot for slot in slots if _begin(slot, waiting, limits)]
    try:
        while busy:
            for slot in list(busy):
                fate = _fate(slot)
                if fate is None:
                    continue
                assert slot.mutant is not None
                yield slot.mutant, fate
                if not _begin(slot, waiting, limits):
                    busy.remove(slot)
            time.sleep(POLL_S)
    finally:
        for slot in busy:
            _end(slot)


def _begin(slot: Slot, waiting: Iterator[Mutant], limits: dict[str, float]) -> bool:
    mutant = next(waiting, None)
    if slot.mutant is not None:
        _write(slot, slot.mutant.target, (ROOT / slot.mutant.target.path).read_text(encoding="utf-8"))
    slot.mutant = mutant
    if mutant is None:
        return False
    _write(slot, mutant.target, mutant.source)
    slot.deadline = time.monotonic() + limits[mutant.target.name]
    slot.pid = start_tests(slot, mutant.target)
    return True


def _write(slot: Slot, target: Target, source: str) -> None:
    path = slot.root / target.path
    path.write_text(source, encoding="utf-8")
    # it is known by its time and size, which may be the same
    Path(importlib.util.cache_from_source(str(path))).unlink(missing_ok=True)


def _fate(slot: Slot) -> Fate | None:
    """Return what became of the slot's mutant; None while its tests run and have time."""
    pid, status = os.waitpid(slot.pid, os.WNOHANG)
    if pid:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # what the tests have left
        return Fate.KILLED if os.waitstatus_to_exitcode(status) else Fate.SURVIVED
    if time.monotonic() < slot.deadline:
        return None
    _end(slot)
    return Fate.TIMEOUT


def _end(slot: Slot) -> None:
    for end in (os.killpg, os.kill):  # it may not lead its group yet
        with contextlib.suppress(ProcessLookupError):
            end(slot.pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(slot.pid, 0)


def table(targets: Sequence[Target], fates: Sequence[tuple[Mutant, Fate]]) -> str:
    """Lay the counts out, a line a module and one for all. The rate leaves the equivalent ones out."""
    rows = [("module", *(fate.value for fate in Fate), "rate")]
    for name in [*(target.name for target in targets), "all"]:
        own = [fate for mutant, fate in fates if name in (mutant.target.name, "all")]
        counts = [own.count(fate) for fate in Fate]
        dead, alive = counts[0] + counts[1], counts[2]
        rate = f"{100 * dead / (dead + alive):.1f} %" if dead + alive else "-"
        rows.append((name, *map(str, counts), rate))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    )


if __name__ == "__main__":
    sys.exit(main())
