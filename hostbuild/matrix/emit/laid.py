"""A folder for a lab: a file for each cell, and the kernels and images that they name, each once.

DIR/NAME.yaml                           a job of LAVA's, or an environment of labgrid's
DIR/files/DIGEST/guest.img, vmlinuz     DIGEST: the parcel's (workers/parcels.py)
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from hostbuild.errors import InputError, UsageError, WorldError
from hostbuild.fs.files import write_error, write_file
from hostbuild.matrix.asked.axes import Spec
from hostbuild.matrix.asked.cells import expected_of
from hostbuild.matrix.asked.job import Job, Lost, Parcel
from hostbuild.matrix.emit import lava
from hostbuild.matrix.emit.labgrid import labgrid_environment
from hostbuild.matrix.emit.wiring import why_not, wiring_of
from hostbuild.matrix.prepare import Plan, Planned
from hostbuild.matrix.workers.parcels import read_parcel
from hostbuild.qemu.session import Session, prepare

_URL = re.compile(r"(https?|file|scp)://\S+")
IMAGE, VMLINUZ = "guest.img", "vmlinuz"


class Lab(Enum):
    """Whose files are written."""

    LAVA = "lava"
    LABGRID = "labgrid"


@dataclass(frozen=True, slots=True)
class Laid:
    """What was written, and what of the matrix was left out, a sentence each."""

    files: tuple[Path, ...]
    notes: tuple[str, ...]


def check_url(url: str) -> str:
    """Return where a lab fetches from, without the slash at its end. Raises UsageError."""
    if not _URL.fullmatch(url):
        raise UsageError(
            f"--url {url!r} is not an address that LAVA fetches from", hint="--url https://HOST/PATH"
        )
    return url.rstrip("/")


def require_empty(directory: Path) -> None:
    """Refuse a folder that has files already. Raises UsageError."""
    if directory.is_dir() and any(directory.iterdir()):
        raise UsageError(
            f"cannot write the lab's files into {directory}: it has other files",
            hint="name a directory that is empty, or not there yet: -o DIR",
        )


def lay(lab: Lab, spec: Spec, plan: Plan, directory: Path, url: str | None) -> Laid:
    """Write the folder. url: where the lab finds it; None: on its own disk, where it is written.

    Raises InputError where no cell is left, WorldError without PyYAML, UsageError or WorldError for what cannot be
    written.
    """
    yaml = _require_yaml()
    directory = directory.absolute()
    base = check_url(url) if url is not None else directory.as_uri()
    writing = _Writing(lab, spec, directory, base)
    files = []
    for name, table in writing.tables(plan):
        text = yaml.safe_dump(table, sort_keys=False, allow_unicode=True, width=120)
        files.append(directory / f"{name}.yaml")
        write_file(files[-1], text.encode(), "a lab's file")
    notes = tuple(f"{why}: {count} cells left out" for why, count in writing.left_out.items())
    if not files:
        raise InputError(f"{spec.path}: no cell is left for {lab.value}: {'; '.join(notes)}")
    return Laid(tuple(files), notes)


class _Writing:
    """A folder that is being written. left_out: why, and how many cells."""

    def __init__(self, lab: Lab, spec: Spec, directory: Path, base: str) -> None:
        self._lab = lab
        self._spec = spec
        self._directory = directory
        self._base = base
        self._parcels: dict[str, tuple[str, str]] = {}
        self.left_out: Counter[str] = Counter()

    def tables(self, plan: Plan) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the content of each file, with its name."""
        used: Counter[str] = Counter()
        for planned in plan.planned:
            name = lava.test_name(self._name(planned))
            if self._lab is Lab.LABGRID and used[name]:
                continue  # the same guest for another test
            table = self._table(planned)
            if table is None:
                continue
            used[name] += 1
            yield (name if used[name] == 1 else f"{name}-{used[name]}"), table

    def _name(self, planned: Planned) -> str:
        kernel, _, machine, image, _ = planned.cell.names
        return planned.cell.name if self._lab is Lab.LAVA else f"{kernel} {machine} {image}"

    def _table(self, planned: Planned) -> dict[str, Any] | None:
        cell, job = planned.cell, planned.job
        if isinstance(job, Lost):
            self.left_out[job.cause] += 1
            return None
        expected = expected_of(self._spec, cell)
        session = self._session(job)
        trouble = why_not(session.machine)
        if self._lab is Lab.LAVA:
            trouble = trouble or lava.why_not(job, expected)
        if trouble:
            self.left_out[trouble] += 1
            return None
        kernel, image = self._files(job.parcel)
        place = f"files/{job.parcel.digest}"
        if self._lab is Lab.LABGRID:
            accel = session.boot.accel.value
            wiring = wiring_of(session, emulated=accel == "tcg")
            where = str(self._directory / place / IMAGE)
            return labgrid_environment(wiring, accel, f"{place}/{VMLINUZ}", where, job.limit_s)
        return lava.lava_job(
            cell,
            job,
            expected,
            wiring_of(session, emulated=job.accel == "tcg"),
            lava.Fetched(f"{self._base}/{place}/{VMLINUZ}", kernel),
            lava.Fetched(f"{self._base}/{place}/{IMAGE}", image),
        )

    def _session(self, job: Job) -> Session:
        """Make the boot ready that the cell would be here. Whether a lab of LAVA's has KVM its device type says."""
        accel = "tcg" if self._lab is Lab.LAVA else job.accel
        return prepare(
            Path(job.parcel.path),
            job.machine,
            append=job.append,
            memory=job.guest_memory,
            accel=accel,
            limit_s=job.limit_s,
        )

    def _files(self, parcel: Parcel) -> tuple[str, str]:
        """Write a parcel's kernel and image, once; return their SHA-256."""
        if parcel.digest not in self._parcels:
            image, _, kernel = read_parcel(parcel)
            place = self._directory / "files" / parcel.digest
            try:
                place.mkdir(parents=True, exist_ok=True)
            except OSError as e:
                raise write_error(place, "a lab's files", e) from e
            write_file(place / IMAGE, image, "the image")
            write_file(place / VMLINUZ, kernel, "the kernel")
            self._parcels[parcel.digest] = (
                hashlib.sha256(kernel).hexdigest(),
                hashlib.sha256(image).hexdigest(),
            )
        return self._parcels[parcel.digest]


def _require_yaml() -> Any:  # noqa: ANN401 - it has no types
    try:
        import yaml
    except ModuleNotFoundError as e:
        raise WorldError(
            "the Python package PyYAML is not installed", hint="pip install 'modaliasd[matrix]'"
        ) from e
    return yaml
