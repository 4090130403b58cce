"""Builds a kernel and its modules, and keeps them: same source, configuration and compiler, same files.

    $XDG_CACHE_HOME/hostbuild/kernel/
        objects/KEY/        kbuild's output directory; an interrupted build goes on there
        objects/KEY.log     what make printed
        built/KEY/          boot/vmlinuz-X, boot/config-X, System.map-X, lib/modules/X; complete or absent

The key is made of the source's identity, the architecture, the configuration, the compiler and whether modules are
stripped. A tree that has no identity may have changed, so that kbuild is asked every time what is to do.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hostbuild import debs
from hostbuild.arch import Arch, foreign_name, require_own
from hostbuild.errors import CommandError
from hostbuild.formats.kconfig import arch_of, parse_config, value_of
from hostbuild.fs import sealed
from hostbuild.fs.files import write_error
from hostbuild.fs.locked import locked
from hostbuild.fs.room import room_in
from hostbuild.fs.scratch import scratch_directory
from hostbuild.fs.usage import mark_used
from hostbuild.kbuild import progress, toolchain
from hostbuild.kbuild.source import SourceTree
from hostbuild.run import find_program, logged_lines, run
from hostbuild.ui import Reporter

_PREPARE_TIMEOUT = 900.0  # seconds
_INSTALL_TIMEOUT = 900.0


@dataclass(frozen=True, slots=True)
class BuiltKernel:
    """A kernel that was built.

    root: holds boot/ and lib/modules/, as an unpacked Debian package does. version: as uname -r prints it.
    arch: what it runs on. log: what make printed; None if the kernel was there already. modules: how many there are.
    """

    root: Path
    arch: Arch
    version: str
    modules: int
    log: Path | None

    @property
    def vmlinuz(self) -> Path:
        """The bzImage, or Image."""
        return self.root / "boot" / f"vmlinuz-{self.version}"


def build(
    source: SourceTree,
    config: str,
    *,
    arch: Arch | None = None,
    jobs: int,
    strip: bool,
    report: Reporter,
) -> BuiltKernel:
    """Build what the configuration asks for, or give what was built before.

    config: the text of a .config. arch: the architecture that it is for; None for what it says, or this machine's.
    jobs: how many compilers at once. strip: take debug sections out of the modules.
    Raises CommandError with the first error of the log.
    """
    arch = arch or arch_of(config) or require_own()
    key = _key(source, arch, config, toolchain.compiler_version(arch), strip)
    kernels = debs.cache_directory() / "kernel"
    final = kernels / "built" / key
    if source.identity and final.is_dir():
        mark_used(final)
        return _read_built(final, arch, None)
    toolchain.require_toolchain(arch)
    objects = kernels / "objects" / key
    log = objects.with_name(f"{key}.log")
    objects.mkdir(parents=True, exist_ok=True)
    final.parent.mkdir(parents=True, exist_ok=True)
    with locked(objects.with_name(f"{key}.lock")):
        if source.identity and final.is_dir():
            return _read_built(final, arch, None)  # another process built it while this one waited
        dot_config = objects / ".config"
        if not dot_config.is_file() or dot_config.read_text(encoding="utf-8") != config:
            dot_config.write_text(config, encoding="utf-8")
        log.write_text("", encoding="utf-8")
        modular = value_of(parse_config(config), "MODULES") == "y"
        with room_in(kernels):
            _make(source, objects, arch, modular=modular, jobs=jobs, log=log, report=report)
            _install(source, objects, arch, final, modular=modular, strip=strip, report=report)
        if source.identity:
            shutil.rmtree(objects)  # never needed again: the key stands for the result
    return _read_built(final, arch, log)


def copy_built(built: BuiltKernel, directory: Path) -> BuiltKernel:
    """Copy boot/ and lib/modules/X of a built kernel; modules of that version are replaced.

    Everything is copied before anything of the old is touched. Raises UsageError or WorldError.
    """

    def copy(source: str, target: str) -> None:
        try:
            shutil.copy2(source, target, follow_symlinks=False)
        except OSError as e:  # copytree would go on, and collect the failures
            raise write_error(directory, "the kernel", e) from e

    try:
        directory.mkdir(parents=True, exist_ok=True)
        with scratch_directory(directory) as staging:
            new = staging / "new"
            shutil.copytree(built.root, new, symlinks=True, copy_function=copy)
            for path in sorted(path for path in new.rglob("*") if not path.is_dir() or path.is_symlink()):
                if not path.is_relative_to(new / "lib/modules"):
                    place = directory / path.relative_to(new)
                    place.parent.mkdir(parents=True, exist_ok=True)
                    path.replace(place)
            if (new / "lib/modules" / built.version).is_dir():
                modules = directory / "lib/modules" / built.version
                modules.parent.mkdir(parents=True, exist_ok=True)
                if modules.is_dir():
                    modules.replace(staging / "old")
                (new / "lib/modules" / built.version).replace(modules)
    except OSError as e:
        raise write_error(directory, "the kernel", e) from e
    return BuiltKernel(directory, built.arch, built.version, built.modules, built.log)


def _key(source: SourceTree, arch: Arch, config: str, compiler: str, strip: bool) -> str:
    parts = (source.identity or f"tree {source.path}", config, compiler, "strip" if strip else "")
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    words = (source.version, foreign_name(arch.value), digest[:16])
    return "-".join(word for word in words if word)


def _make(
    source: SourceTree,
    objects: Path,
    arch: Arch,
    *,
    modular: bool,
    jobs: int,
    log: Path,
    report: Reporter,
) -> None:
    environment = toolchain.make_environment(os.environ)
    ccache = find_program("ccache") is not None

    def make(*words: str) -> list[str]:
        return ["nice", "-n", "10", *toolchain.make_argv(source, objects, *words, arch=arch, ccache=ccache)]

    targets = [arch.facts.kernel_image, *(["modules"] if modular else [])]
    with report.step("Preparing to build"):
        # generated headers have to exist before make -n can walk the tree
        _logged(make(f"-j{jobs}", "olddefconfig", "prepare", "modules_prepare"), environment, log)
        # -k: the link of vmlinux lacks its inputs as long as nothing is built; the rest is counted all the
        # same
        dry = run(make("-n", "-k", *targets), timeout=_PREPARE_TIMEOUT, env=environment, check=False)
    total = progress.count_steps(dry.stdout.decode("utf-8", "replace").splitlines())
    with report.step(f"Building {source.version}", total) as advance:
        for line in _lines(make(f"-j{jobs}", *targets), environment, log):
            if progress.counts(line):
                advance(1)


def _logged(argv: Sequence[str], environment: dict[str, str], log: Path) -> None:
    for _ in _lines(argv, environment, log):
        pass


def _lines(argv: Sequence[str], environment: dict[str, str], log: Path) -> Iterator[str]:
    """Run a command, append its output to the log, and yield its lines; a failure names the first error."""
    try:
        yield from logged_lines(argv, env=environment, log=log)
    except CommandError as e:
        if e.status is None:
            raise
        error = (
            progress.first_error(log.read_text(encoding="utf-8").splitlines())
            or f"make ended with {e.status}"
        )
        raise CommandError(
            f"the kernel could not be built: {error}",
            argv=tuple(argv),
            status=e.status,
            stderr=error,
            hint=f"read the whole log: {log}",
        ) from e


def _install(
    source: SourceTree,
    objects: Path,
    arch: Arch,
    final: Path,
    *,
    modular: bool,
    strip: bool,
    report: Reporter,
) -> None:
    environment = toolchain.make_environment(os.environ)
    with scratch_directory(final.parent) as scratch:
        staging = scratch / "kernel"
        boot = staging / "boot"
        boot.mkdir(parents=True)
        if modular:
            words = [f"INSTALL_MOD_PATH={staging}", *(["INSTALL_MOD_STRIP=1"] if strip else [])]
            argv = toolchain.make_argv(source, objects, *words, "modules_install", arch=arch)
            with report.step("Installing modules"):
                run(argv, timeout=_INSTALL_TIMEOUT, env=environment)
        version = (objects / "include/config/kernel.release").read_text(encoding="ascii").strip()
        for link in ("build", "source"):  # they point into the cache
            (staging / "lib/modules" / version / link).unlink(missing_ok=True)
        for built, name in (
            (f"arch/{arch.facts.kbuild}/boot/{arch.facts.kernel_image}", "vmlinuz"),
            ("System.map", "System.map"),
            (".config", "config"),
        ):
            shutil.copyfile(objects / built, boot / f"{name}-{version}")
        if final.is_dir():
            shutil.rmtree(final)
        sealed.give_name(staging, final)


def _read_built(root: Path, arch: Arch, log: Path | None) -> BuiltKernel:
    [vmlinuz] = root.glob("boot/vmlinuz-*")
    version = vmlinuz.name.removeprefix("vmlinuz-")
    modules = sum(1 for path in (root / "lib/modules" / version).rglob("*.ko*"))
    return BuiltKernel(root, arch, version, modules, log)
