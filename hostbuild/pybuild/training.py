"""Trains an interpreter: compiles it so that it counts, has it do a guest's work, keeps the counters.

    work/KEY/training/      a second build tree, for the one that counts
    work/KEY/profile/       the counters, a file for each of CPython's (gcc's -fprofile-use)

The counters are the same each time, on every machine with the same compiler: the program is static and at fixed
addresses, and training.c gives it its memory, stack, clock, arguments and environment; what it runs is frozen
(workload.py). So the interpreter that is compiled by them is the same, too.
"""

import hashlib
import marshal
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from hostbuild import ui
from hostbuild.errors import CommandError
from hostbuild.fs import sealed
from hostbuild.fs.scratch import scratch_directory
from hostbuild.pybuild.compiling import Parts, Tree
from hostbuild.pybuild.link import (
    Frozen,
    Linkage,
    bootstrap_modules,
    compile_ours,
    compile_paths,
    link,
    paths_c,
)
from hostbuild.run import run
from hostbuild.ui import Reporter

_PROCESS = Path(__file__).with_name("training.c")
_WORKLOAD = Path(__file__).with_name("workload.py")
_DIRECTORY = "counters"
_ERRORS = "errors"  # as training.c calls it
# The seed: or each object would have a stamp of the time in it, and so would its counters
COUNTING = f"-fprofile-generate={_DIRECTORY} -fprofile-update=single -frandom-seed=hostbuild"
FLAGS = ("-fprofile-use=../profile", "-Wno-missing-profile")
_TIMEOUT = 600.0
_SETTINGS = {"PYTHONHASHSEED": "0", "PYTHONNODEBUGRANGES": "1"}
# What the interpreter that counts imports, to tell what is frozen: name, code, whether it is a package
_FREEZE = """
import marshal, sys
text = sys.stdin.buffer.read()
space = {"__name__": "asked"}
exec(text, space)
for name in space["IMPORTED"]:
    __import__(name)
rows = []
for name, module in sorted(sys.modules.items()):
    spec = getattr(module, "__spec__", None)
    if spec is not None and spec.has_location and spec.origin.endswith(".py"):  # what is frozen has none
        with open(spec.origin, "rb") as stream:
            source = stream.read()
        where = "/" + name.replace(".", "/") + ".py"
        code = compile(source, where, "exec", dont_inherit=True)
        rows.append((name, marshal.dumps(code), hasattr(module, "__path__")))
code = compile(text, "/workload.py", "exec", dont_inherit=True)
rows.append(("workload", marshal.dumps(code), False))
sys.stdout.buffer.write(marshal.dumps(rows))
"""


@dataclass(frozen=True, slots=True)
class Profile:
    """Counters. sha256: of them all, "" where there are none."""

    sha256: str

    @property
    def flags(self) -> str:
        """What the compiler is told."""
        return " ".join(FLAGS) if self.sha256 else ""


def texts() -> tuple[str, ...]:
    """Return the texts of what is compiled or run here, which decide about an interpreter."""
    return (
        paths_c(),
        *(path.read_text(encoding="utf-8") for path in (_PROCESS, _WORKLOAD)),
        _FREEZE,
        COUNTING,
    )


def trained(tree: Tree, work: Path, report: Reporter) -> Profile:
    """Give the counters, made now unless they are there.

    A training that fails costs the speed and is said, and nothing else. Raises CommandError where compiling fails.
    """
    profile = work / "profile"
    if not profile.is_dir():
        counting = Tree(tree.source, work / "training", tree.log)
        if not counting.objects.is_dir():
            with scratch_directory(work) as scratch:
                shutil.copytree(tree.objects, scratch / "objects", symlinks=True)
                sealed.give_name(scratch / "objects", counting.objects)
        title = "Compiling an interpreter that counts, to optimize by"
        counting.compile(title, report, flags=COUNTING, link_flags=COUNTING)
        with report.step("Training it"), scratch_directory(work) as scratch:
            sealed.give_name(_train(counting, scratch), profile)
        shutil.rmtree(counting.objects)
    return Profile(digest_of(profile))


def digest_of(profile: Path) -> str:
    """Return a text that changes with the counters; "" for none."""
    digest = hashlib.sha256()
    paths = sorted(profile.iterdir())
    for path in paths:
        digest.update(f"{path.name} {path.stat().st_size}\n".encode() + path.read_bytes())
    return digest.hexdigest() if paths else ""


def wrapped() -> list[str]:
    """Name the functions of libc's that training.c replaces."""
    return sorted(set(re.findall(r"\b__wrap_([a-z]\w*)", _PROCESS.read_text(encoding="utf-8"))))


def _train(counting: Tree, scratch: Path) -> Path:
    """Run the work; give the directory with its counters."""
    directory = scratch / "link"
    directory.mkdir()
    parts = counting.collect(directory)
    compile_paths(directory, "3")  # where nothing lies
    compile_ours(directory, _PROCESS)
    frozen = [*bootstrap_modules(directory), *_frozen(counting, directory, parts, scratch)]
    words = [f"-Wl,--wrap={name}" for name in wrapped()]
    place = scratch / "run"
    place.mkdir()
    program = link(
        directory,
        parts.archives,
        parts.libraries,
        frozen,
        (),
        guest=True,
        linkage=Linkage.TRAINING,
        main=f"{_PROCESS.stem}.o",
        words=words,
    )
    _write_program(scratch / "trained", program)
    counters = place / _DIRECTORY
    try:
        run([scratch / "trained"], timeout=_TIMEOUT, cwd=place, env={})
    except CommandError as e:
        ui.note(
            f"the interpreter is built without a profile, some 7 % slower, since its training failed: {e}"
        )
        counters = scratch / "none"
        counters.mkdir()
    return counters


def _frozen(counting: Tree, directory: Path, parts: Parts, scratch: Path) -> list[Frozen]:
    """Compile what the work imports, and the work, by the interpreter itself."""
    program = link(
        directory,
        parts.archives,
        parts.libraries,
        bootstrap_modules(directory),
        (),
        guest=False,
        linkage=Linkage.TRAINING,
    )
    _write_program(scratch / "compiles", program)
    place = scratch / "elsewhere"  # for counters that nobody wants
    place.mkdir()
    done = run(
        [scratch / "compiles", "-B", "-S", "-s", "-P", "-c", _FREEZE],
        stdin=_WORKLOAD.read_bytes(),
        timeout=_TIMEOUT,
        cwd=place,
        env={"PYTHONPATH": f"../../{counting.source.name}/Lib", **_SETTINGS},
    )
    rows = marshal.loads(done.stdout)  # noqa: S302 - our own child's answer
    return [Frozen(name, code, is_package) for name, code, is_package in rows]


def _write_program(path: Path, program: bytes) -> None:
    path.write_bytes(program)
    path.chmod(0o755)
