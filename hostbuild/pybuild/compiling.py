"""Compiles CPython: configure and make, in a directory beside the source, and what they have made in archives.

    source/         as it was unpacked
    objects/        where configure and make run; any directory beside the source

No path of this machine gets into what is compiled: configure is started by a relative name, and the compiler is told
that it works in /proc/self/cwd.
"""

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hostbuild.errors import CommandError, InputError
from hostbuild.pybuild import said, setup_lines
from hostbuild.pybuild.link import BOOTSTRAP, COMPILE
from hostbuild.run import logged_lines, run
from hostbuild.ui import Reporter

OPTIMIZE = "-DNDEBUG -fwrapv -O2"
CONFIGURE = (
    "--prefix=/usr",
    "--disable-shared",
    "--disable-test-modules",
    "--with-pkg-config=no",  # or libraries of this machine decide what is built
    "--without-doc-strings",
    "--without-ensurepip",
    "--without-readline",
    "ac_cv_header_zlib_h=no",  # binascii would take its crc32 from there
    # What configure would try on this process and its /dev: at nice 19 it finds nice() broken, without /dev/shm
    # semaphores. Guests have Linux and glibc.
    "ac_cv_broken_nice=no",
    "ac_cv_broken_sem_getvalue=no",
    "ac_cv_buggy_getaddrinfo=no",
    "ac_cv_file__dev_ptc=no",
    "ac_cv_file__dev_ptmx=yes",
    "ac_cv_posix_semaphores_enabled=yes",
    "ac_cv_working_tzset=yes",
)
_TARGETS = (
    *(f"Python/frozen_modules/{name}.h" for name in BOOTSTRAP),
    "Modules/getpath.o",
    "Programs/python.o",
)
_VARIABLES = ("LIBRARY_OBJS_OMIT_FROZEN", "LIBS", "MODLIBS", "SYSLIBS")
_QUESTION = ".PHONY: hostbuild-tell\nhostbuild-tell:\n" + "".join(
    f"\t@echo '{name}: $({name})'\n" for name in _VARIABLES
)
_LINK_FLAGS = "-no-pie -static"
_CONFIGURED = ".configured"  # there when configure has come to its end
_PREPARE_TIMEOUT = 600.0


@dataclass(frozen=True, slots=True)
class Parts:
    """What a program is linked from, in one directory: names of archives, words for libraries."""

    archives: tuple[str, ...]
    libraries: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Tree:
    """A build tree. log: where the output goes."""

    source: Path
    objects: Path
    log: Path

    def configure(self, report: Reporter) -> None:
        """Run configure, unless that has been done. Raises CommandError with the end of the log."""
        if (self.objects / _CONFIGURED).is_file():
            return
        shutil.rmtree(self.objects, ignore_errors=True)
        (self.objects / "Modules").mkdir(parents=True)
        stdlib = (self.source / "Modules/Setup.stdlib.in").read_text(encoding="utf-8")
        # there before configure runs: a Makefile that is made again would have this machine's libraries in it
        setup = setup_lines.local_setup(stdlib)
        (self.objects / "Modules/Setup.local").write_text(setup, encoding="utf-8")
        settings = {
            "CC": "gcc",
            "CFLAGS": " ".join(COMPILE),
            "LDFLAGS": _LINK_FLAGS,
            "LINKFORSHARED": " ",
            "MODULE_BUILDTYPE": "static",
        }
        words = [f"{name}={value}" for name, value in settings.items()]
        # by a relative name, which is what __FILE__ has then
        script = f'cd -- "$1" && shift && exec ../{self.source.name}/configure "$@"'
        with report.step("Configuring CPython"):
            argv = ["nice", "-n", "10", "sh", "-c", script, "sh", str(self.objects), *CONFIGURE, *words]
            for _ in self._lines(argv):
                pass
        (self.objects / _CONFIGURED).touch()

    def compile(self, title: str, report: Reporter, *, flags: str = "", link_flags: str = "") -> None:
        """Compile what is not yet; the same flags each time. Raises CommandError with the end of the log.

        flags: for the compiler, behind OPTIMIZE. link_flags: for the program that freezes modules meanwhile.
        """
        words = [
            f"OPT={OPTIMIZE} {flags}".rstrip(),
            f"LDFLAGS_NODIST={_LINK_FLAGS} {link_flags}".rstrip(),  # 3.13's configure keeps none of those it gets
        ]
        make = ["make", "-C", str(self.objects), *words]
        dry = run([*make, "-n", *_TARGETS], timeout=_PREPARE_TIMEOUT, env=environment(), check=False)
        total = said.count_compiled(dry.stdout.decode("utf-8", "replace").splitlines())
        with report.step(title, total) as advance:
            jobs = len(os.sched_getaffinity(0))
            for line in self._lines(["nice", "-n", "10", *make, f"-j{jobs}", *_TARGETS]):
                if said.is_compiled(line):
                    advance(1)

    def collect(self, directory: Path) -> Parts:
        """Put what a program is linked from into an empty directory: objects in archives, headers, config.c."""
        (self.objects / "hostbuild.mk").write_text(f"include Makefile\n{_QUESTION}", encoding="utf-8")
        argv = ["make", "-s", "--no-print-directory", "-C", str(self.objects)]
        argv += ["-f", "hostbuild.mk", "hostbuild-tell"]
        told = run(argv, timeout=_PREPARE_TIMEOUT, env=environment()).stdout.decode()
        variables = {name: value for name, _, value in (line.partition(":") for line in told.splitlines())}
        members = [name for name in variables["LIBRARY_OBJS_OMIT_FROZEN"].split() if name.endswith(".o")]
        words = " ".join(variables[name] for name in _VARIABLES[1:]).split()
        archives = ["libpython.a"]
        run(["ar", "rcsD", directory / archives[0], *members], timeout=_PREPARE_TIMEOUT, cwd=self.objects)
        for word in dict.fromkeys(word for word in words if word.endswith(".a")):
            archives.append(Path(word).name)
            shutil.copyfile(self.objects / word, directory / archives[-1])
        for name in ("Modules/getpath.o", "Programs/python.o", "Modules/config.c"):
            shutil.copyfile(self.objects / name, directory / Path(name).name)
        shutil.copytree(self.source / "Include", directory / "include")
        shutil.copyfile(self.objects / "pyconfig.h", directory / "include/pyconfig.h")
        for name in BOOTSTRAP:
            code = array((self.objects / f"Python/frozen_modules/{name}.h").read_text())
            (directory / f"{name}.code").write_bytes(code)
        return Parts(tuple(archives), tuple(dict.fromkeys(word for word in words if word.startswith("-l"))))

    def _lines(self, argv: Sequence[str]) -> Iterator[str]:
        """Run a command, append its output to the log, and yield its lines; a failure names the first error."""
        try:
            yield from logged_lines(argv, env=environment(), log=self.log)
        except CommandError as e:
            if e.status is None:
                raise
            raise failure(
                self.log.read_text(encoding="utf-8").splitlines(), e.argv, e.status, self.log
            ) from e


def array(header: str) -> bytes:
    """Read the bytes of an array in C, as Programs/_freeze_module.c writes them."""
    _, brace, rest = header.partition("{")
    if not brace:
        raise InputError("a header of CPython's frozen modules has no array")
    return bytes(int(number) for number in re.findall(r"\d+", rest.partition("}")[0]))


def environment() -> dict[str, str]:
    """Return the environment of a build: nothing of this user's steers it, and there is no clock."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LC_ALL": "C",
        "SOURCE_DATE_EPOCH": "0",
        "PYTHONHASHSEED": "0",
        # where gcc believes that it works, so that no path of this machine gets into the names of counters
        "PWD": "/proc/self/cwd",
    }


def failure(lines: Sequence[str], argv: tuple[str, ...], status: int, log: Path) -> CommandError:
    """Make the error of a build that failed: what went wrong, the log's end, what is missing."""
    if package := said.missing_package(lines):
        hint = f"sudo apt-get install --no-install-recommends {package}; the whole log: {log}"
    else:
        hint = f"read the whole log: {log}; leave --python build out for Debian's interpreter"
    error = said.first_error(lines) or f"it ended with {status}"
    message = f"the interpreter could not be built: {error}; the log ends with\n{said.tail(lines)}"
    return CommandError(message, argv=argv, status=status, stderr=said.tail(lines), hint=hint)
