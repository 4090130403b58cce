"""A small module tree, both modprobes run on it (never inserting), and our own answers for it."""

import fnmatch
import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from modaliasd.core.kmod.modprobe_d import DIRECTORIES, Configuration, parse_command_line, parse_modprobe_d
from modaliasd.core.kmod.modules_dep import (
    Dependencies,
    Softdep,
    parse_builtin,
    parse_softdeps,
    parse_symbols,
)
from modaliasd.core.kmod.plan import Plan
from modaliasd.core.kmod.resolve import Resolver
from tests.support.komaker import FakeModule, make_tree
from tests.support.privileges import unshared
from tests.support.programs import require_program

MODPROBE = require_program("modprobe")

# The names exist on no machine: modprobe -n looks into /sys/module of the machine that runs the test.
MODULES = (
    FakeModule("kt-base", parameters=["debug"]),
    FakeModule("kt_bus", needs=["kt-base"], path="kernel/drivers/bus/kt_bus.ko"),
    FakeModule("kt-net", needs=["kt_bus", "kt-base"], aliases=["pci:v00001234d*sv*", "kt-nic-[0-9]*"]),
    FakeModule("kt_alt", aliases=["pci:v00001234d00000001sv*", "of:N*T*Ckt,alt"]),
    FakeModule("kt_crypt", aliases=["crypto-kt"]),
    FakeModule("kt_soft", needs=["kt_bus", "kt-base"], softdeps=["pre: kt_crypt post: kt_late"]),
    FakeModule("kt_late", needs=["kt-base"]),
    FakeModule("kt_one", softdeps=["pre: kt_two"]),
    FakeModule("kt_two", softdeps=["pre: kt_one"]),
    FakeModule("kt_top", needs=["kt_soft", "kt_bus", "kt-base"]),
)
BUILTIN = (FakeModule("kt-inside", aliases=["platform:kt-inside", "kt-both"]),)
NAMES = tuple(module.name.replace("-", "_") for module in MODULES)


@dataclass(frozen=True)
class Answer:
    """What a modprobe said; lines have single blanks."""

    status: int
    out: tuple[str, ...]
    err: str


class LiveTree:
    """The tree below `root`, for the kernel release `kver`."""

    def __init__(self, root: Path, kver: str = "6.1.0-test") -> None:
        self.root = root
        self.kver = kver
        self.folder = make_tree(root, kver, MODULES, BUILTIN)
        self.conf = root / "conf"
        self.conf.mkdir()
        self.host_command_line = Path("/proc/cmdline").read_text(errors="surrogateescape")

    def modprobe(self, conf: str, *args: str) -> Answer:
        """kmod's modprobe with that text as its only configuration file."""
        file = self.conf / "t.conf"
        file.write_bytes(conf.encode("utf-8", "surrogateescape"))
        return self.modprobe_in([self.conf], *args)

    def modprobe_in(self, directories: list[Path], *args: str) -> Answer:
        """kmod's modprobe with these configuration directories."""
        where = [word for directory in directories for word in ("-C", str(directory))]
        command = [MODPROBE, "-d", str(self.root), "-S", self.kver, *where, *args]
        run = subprocess.run(command, capture_output=True, check=False, timeout=20)
        return self._answer(run)

    def configure(self, files: dict[str, str]) -> None:
        """Make `files`, by their paths below the root, the whole configuration with "proc/cmdline"."""
        for directory in ("etc/modprobe.d", "run/modprobe.d", "usr/lib/modprobe.d", "lib/modprobe.d"):
            shutil.rmtree(self.root / directory, ignore_errors=True)
        for name, text in {"proc/cmdline": "", "proc/modules": "", **files}.items():
            file = self.root / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)

    def kmod(self, *args: str) -> Answer:
        """kmod's modprobe with what `configure` made; the command line is bound over /proc/cmdline."""
        inside = 'mount --bind "$1" /proc/cmdline && shift && exec "$@"'
        where = [word for directory in DIRECTORIES for word in ("-C", f"{self.root}{directory}")]
        modprobe = [MODPROBE, "-d", str(self.root), "-S", self.kver, *where, *args]
        command = unshared("-m", "sh", "-c", inside, "sh", f"{self.root}/proc/cmdline", *modprobe)
        return self._answer(subprocess.run(command, capture_output=True, check=False, timeout=20))

    def busybox(self, *args: str) -> Answer:
        """busybox's `modprobe -D` with what `configure` made, the tree being its root directory."""
        (self.root / "bin").mkdir(exist_ok=True)
        shutil.copy(require_program("busybox"), self.root / "bin" / "busybox")
        command = unshared("-R", str(self.root), "/bin/busybox", "modprobe", "-D", *args)
        return self._answer(subprocess.run(command, capture_output=True, check=False, timeout=20))

    def resolver(self, conf: str | Configuration) -> Resolver:
        """Our own resolver, on the tree's tables and the naive index."""
        configuration = parse_modprobe_d([("t.conf", conf)]) if isinstance(conf, str) else conf
        dependencies = Dependencies(self._table("dep"), parse_builtin(self._table("builtin")))
        symbols = parse_symbols(self._table("symbols"))
        return Resolver(configuration, dependencies, self.index, self.softdeps(), symbols)

    def index(self, modalias: str) -> list[tuple[str, str, int, bool]]:
        """Every pattern that matches, by plain fnmatch, in the order of modules.order."""
        wanted = modalias.replace("-", "_")
        loadable = [
            (words[2], words[1], line, False)
            for line, text in enumerate(self._table("alias").splitlines(), 1)
            if (words := text.split())[0] == "alias" and fnmatch.fnmatchcase(wanted, _normal(words[1]))
        ]
        loadable.sort(key=lambda row: NAMES.index(row[0]))
        inside = [
            (module.name.replace("-", "_"), alias, 0, True)
            for module in BUILTIN
            for alias in module.aliases
            if fnmatch.fnmatchcase(wanted, _normal(alias))
        ]
        return loadable + inside

    def expect(self, plan: Plan) -> tuple[str, ...]:
        """The lines that kmod's `modprobe -n -v` prints for the plan."""
        lines = []
        for step in plan.steps:
            what = f"install {step.command}" if step.command else f"insmod {step.path}"
            lines.append(" ".join(f"{what} {step.options}".split()))
        return first_of_each(lines)

    def softdeps(self) -> tuple[Softdep, ...]:
        """What modules.softdep says."""
        return parse_softdeps(self._table("softdep"))

    def host_configuration(self) -> Configuration:
        """What the running machine's own kernel command line adds to every answer of kmod."""
        return parse_command_line(self.host_command_line)

    def _table(self, name: str) -> str:
        return (self.folder / f"modules.{name}").read_text()

    def _answer(self, run: subprocess.CompletedProcess[bytes]) -> Answer:
        out = run.stdout.decode("utf-8", "surrogateescape")
        for prefix in (f"{self.folder}/", f"/lib/modules/{self.kver}/"):
            out = out.replace(prefix, "")
        lines = (" ".join(line.split()) for line in out.split("\n"))
        err = run.stderr.decode("utf-8", "surrogateescape")
        return Answer(run.returncode, tuple(line for line in lines if line), err)


def first_of_each(lines: Iterable[str]) -> tuple[str, ...]:
    """The first line for each module and each command.

    A dry run comes again to modules that the real one would find inserted by then.
    """
    first: dict[str, str] = {}
    for line in lines:
        first.setdefault(line.split()[1], line)
    return tuple(first.values())


def kmod_version() -> int:
    """The version of the kmod that is asked: 30 in Debian 12, 34 in Debian 13."""
    said = subprocess.run([MODPROBE, "--version"], capture_output=True, text=True, check=True, timeout=20)
    return int(said.stdout.split()[2].split(".")[0])


def machine_release() -> str:
    """The running kernel's release: busybox's modprobe looks nowhere else."""
    return os.uname().release


def _normal(pattern: str) -> str:
    """`-` as `_` outside brackets."""
    pieces = pattern.split("[")
    rest = [
        f"{inside}]{after.replace('-', '_')}" for inside, _, after in (p.partition("]") for p in pieces[1:])
    ]
    return "[".join([pieces[0].replace("-", "_"), *rest])
