"""A matrix made ready to run: its images built, or found in the cache, and each cell as a job with its key."""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from hostbuild.arch import Arch
from hostbuild.errors import HostbuildError, InputError
from hostbuild.formats.compress import Compressor
from hostbuild.formats.manifest import kernel_path, read_manifest
from hostbuild.fs.files import read_input
from hostbuild.fs.regular import read_regular
from hostbuild.image.build import ImageOptions, Modprobe
from hostbuild.image.kept import require_image
from hostbuild.image.sources.extras import Extra
from hostbuild.matrix.asked.axes import GuestTest, MatrixImage, MatrixKernel, Spec, machine_name
from hostbuild.matrix.asked.cells import Cell, is_excluded, key_of
from hostbuild.matrix.asked.job import Job, Lost, Parcel
from hostbuild.matrix.workers.parcels import make_parcel
from hostbuild.near import did_you_mean
from hostbuild.qemu.machine import Machine, parse_memory, read_machine
from hostbuild.qemu.memory_probe import read_estimate
from hostbuild.ui import Reporter

_QEMU_MIB = 192  # that QEMU itself takes: its own code, and what it has translated
_MOST_FILES = 16 << 20  # bytes of tests that travel with a job
_FILE_IN = re.compile(r"(?:^|[,.])(?:file|filename|path|mem-path|source)=([^,]+)")


@dataclass(frozen=True, slots=True)
class Planned:
    """A cell, and the job that it is; or why there is none."""

    cell: Cell
    job: Job | Lost


@dataclass(frozen=True, slots=True)
class Plan:
    """All cells, and what to tell of those that were left out because they cannot be."""

    planned: tuple[Planned, ...]
    notes: tuple[str, ...]


def make_plan(spec: Spec, cells: Sequence[Cell], run: str, report: Reporter) -> Plan:
    """Build the images and make the jobs. An image that cannot be built costs its own cells, not the run.

    Raises InputError for machines, tests and options that cannot be read: a mistake in the file.
    """
    machines = {name: _with_options(read_machine(name, spec.devices), spec) for name in spec.machines}
    texts = {name: _machine_text(name) for name in spec.machines}
    tests = {test.name: _TestFiles.read(test, spec) for test in spec.tests}
    options = {image.name: options_of(image) for image in spec.images}
    pairs = dict.fromkeys((cell.kernel, cell.image) for cell in cells)
    parcels: dict[tuple[MatrixKernel, MatrixImage], Parcel | Lost] = {}
    with report.step("Making images", len(pairs)) as advance:
        for kernel, image in pairs:
            parcels[kernel, image] = _parcel(kernel, options[image.name], report)
            advance(1)
    planned, left_out = [], Counter[str]()
    for cell in cells:
        parcel = parcels[cell.kernel, cell.image]
        if isinstance(parcel, Lost):
            planned.append(Planned(cell, parcel))
            continue
        cell = replace(cell, arch=parcel.arch)
        machine = machines[cell.machine]
        if why := _impossible(spec, cell, parcel.arch, machine):
            left_out[why] += bool(why.strip())
            continue
        job = _job(spec, cell, parcel, machine, tests[cell.test.name], texts[cell.machine])
        planned.append(Planned(cell, replace(job, run=run) if isinstance(job, Job) else job))
    notes = tuple(f"{why}: {count} cells left out" for why, count in left_out.items() if why.strip())
    if not planned:
        raise InputError(f"{spec.path}: no cell is left: {'; '.join(notes) or '[[exclude]] takes them all'}")
    return Plan(tuple(planned), notes)


def options_of(image: MatrixImage) -> ImageOptions:
    """Return what to build, for a kernel still to be named. Raises InputError for unknown words."""
    known = [one.value for one in Extra]
    for word in image.extras:
        if word not in known:
            near = did_you_mean(word, known) or f"; known are {', '.join(known)}"
            raise InputError(f"[images.{image.name}] with = {word!r} is unknown{near}")
    return ImageOptions(
        modules=image.modules,
        overlays=image.overlays,
        firmware_dirs=image.firmware_dirs,
        modprobe=Modprobe(image.modprobe),
        python=image.python,
        extras=tuple(map(Extra, dict.fromkeys(image.extras))),
        compressor=Compressor.ZSTD,
    )


def _parcel(kernel: MatrixKernel, options: ImageOptions, report: Reporter) -> Parcel | Lost:
    try:
        return make_parcel(require_image(replace(options, kernel=kernel.word, arch=kernel.arch), report))
    except HostbuildError as e:
        return Lost(f"its image cannot be made: {e}", e.hint)


def _impossible(spec: Spec, cell: Cell, arch: Arch, machine: Machine) -> str:
    """Say why there cannot be such a cell, now that its architecture is known; " " if it was excluded; "" if it can."""
    if is_excluded(spec, cell):
        return " "
    if spec.architectures and arch not in spec.architectures:
        return f"the kernel {cell.kernel.name} is for {arch}, which architectures does not name"
    try:
        machine.for_arch(arch)
    except InputError as e:
        return str(e)
    return ""


def _job(
    spec: Spec, cell: Cell, parcel: Parcel, machine: Machine, test: "_TestFiles", text: bytes | None
) -> Job | Lost:
    append = " ".join(filter(None, (spec.append, cell.test.append)))
    image = Path(parcel.path)
    files = test.files + ((("machine.toml", text),) if test.names and text is not None else ())
    try:
        memory = _memory(spec, machine, image, append)
    except HostbuildError as e:
        return Lost(f"its memory cannot be reckoned: {e}", e.hint)
    job = Job(
        key="",
        name=cell.name,
        run="",
        parcel=parcel,
        machine=machine,
        memory=memory + _QEMU_MIB,
        guest_memory=spec.memory,
        append=append,
        accel=spec.accel,
        limit_s=cell.test.timeout_s or spec.timeout_s,
        command=cell.test.command or (("sh", "-s") if test.stdin else ()),
        stdin=test.stdin,
        pytest=test.names,
        files=files,
    )
    return replace(job, key=key_of(_inputs(job)))


def _inputs(job: Job) -> dict[str, object]:
    """Return all that decides about a cell's result, by content where that is at hand."""
    return {
        "parcel": job.parcel.digest,
        "machine": repr(job.machine),
        "disks": [_stamp(path) for path in _named_files(job.machine)],
        "boot": [job.append, job.guest_memory, job.accel, job.limit_s],
        "command": job.command,
        "stdin": hashlib.sha256(job.stdin).hexdigest(),
        "pytest": job.pytest,
        "files": [(name, hashlib.sha256(content).hexdigest()) for name, content in job.files],
    }


def _memory(spec: Spec, machine: Machine, image: Path, append: str) -> int:
    asked = parse_memory(spec.memory) if spec.memory is not None else machine.memory
    return asked or read_estimate(image, read_manifest(image), kernel_path(image), append).comfortable


def _with_options(machine: Machine, spec: Spec) -> Machine:
    return replace(machine, cpus=spec.cpus) if spec.cpus is not None else machine


def _machine_text(name: str) -> bytes | None:
    """Return a machine file's text, for pytest on another machine; None for a machine that comes with hostbuild."""
    return read_input(Path(name), "the machine file") if machine_name(name) != name else None


def _named_files(machine: Machine) -> Iterator[Path]:
    """Yield the files that a machine's disks are made of."""
    words = [str(device) for device in machine.devices] + [word for _, word in machine.raw]
    for word in words:
        yield from (Path(found) for found in _FILE_IN.findall(word))


def _stamp(path: Path) -> tuple[str, int, int]:
    """Return what tells a disk from another: its size and its time; reading them all would take minutes."""
    with suppress(OSError):
        status = path.stat()
        return str(path), status.st_size, status.st_mtime_ns
    return str(path), -1, -1


@dataclass(frozen=True, slots=True)
class _TestFiles:
    """What travels with a test's jobs. names: the files of pytest that were named, as they are called there."""

    stdin: bytes = b""
    names: tuple[str, ...] = ()
    files: tuple[tuple[str, bytes], ...] = ()

    @classmethod
    def read(cls, test: GuestTest, spec: Spec) -> "_TestFiles":
        """Read them. Raises InputError."""
        if test.script is not None:
            script = read_input(test.script, f"the script of [tests.{test.name}]")
            if not script.strip():
                raise InputError(f"the script {test.script} of [tests.{test.name}] is empty")
            return cls(stdin=script)
        if test.pytest and spec.devices:
            raise InputError(
                f"{spec.path}: devices are not for [tests.{test.name}]: tests of pytest name theirs by marks",
                hint="a machine file has devices for both kinds of tests",
            )
        found: dict[str, bytes] = {}
        for path in test.pytest:
            for name, file in _files_of(path, test):
                found[name] = _content(file, test)
            if sum(map(len, found.values())) > _MOST_FILES:
                raise InputError(
                    f"the files of [tests.{test.name}] have more than {_MOST_FILES >> 20} MiB: they go with each cell",
                    hint="name the files, not the folder that has others, too",
                )
        return cls(names=tuple(path.name for path in test.pytest), files=tuple(sorted(found.items())))


def _files_of(path: Path, test: GuestTest) -> Iterator[tuple[str, Path]]:
    """Yield a test's file with the conftest.py beside it; or a folder's files. Each with its name on the worker."""
    if path.is_dir():
        for parent, folders, names in os.walk(path):
            folders[:] = sorted(one for one in folders if one != "__pycache__" and not one.startswith("."))
            for name in sorted(names):
                file = Path(parent) / name
                if file.is_file() and not name.endswith(".pyc"):
                    yield str(file.relative_to(path.parent)), file
        return
    if not path.is_file():
        raise InputError(f"[tests.{test.name}] pytest: there is no file {path}")
    yield path.name, path
    beside = path.with_name("conftest.py")
    if beside.is_file():
        yield beside.name, beside


def _content(file: Path, test: GuestTest) -> bytes:
    try:
        return read_regular(file)
    except OSError as e:
        raise InputError(f"cannot read {file} of [tests.{test.name}]: {e.strerror or e}") from e
