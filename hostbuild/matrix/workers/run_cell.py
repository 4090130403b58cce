"""One cell booted on the machine where this runs, and what became of it as a value. Each cell has a thread of its own.

Whatever ends a run of cells early has their machines ended by `stop`: nothing else can reach into these threads.
"""

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from hostbuild.errors import GuestError, HostbuildError, InputError, ToolMissingError, WorldError
from hostbuild.fs.scratch import scratch_directory
from hostbuild.guest.requirements import require_agent
from hostbuild.live.ready import make_ready, out_of_memory, power_off
from hostbuild.matrix.asked.job import MOST_LEDGER, MOST_TEXT, CellResult, Job, Lacking, Outcome, Unable
from hostbuild.matrix.workers.parcels import cache_place, find_parcel
from hostbuild.qemu.exit_status import complaints
from hostbuild.qemu.lines import Line
from hostbuild.qemu.session import Session, prepare
from hostbuild.qemu.vm import VM
from hostbuild.run import end_group, require_program, spawn, wait_for

_TIME_LIMIT = 124
_STOP_S = 15.0  # for threads to clear up behind machines that were ended
_NO_TESTS = 5  # pytest's status where it found none


def run_cell(job: Job) -> Outcome:
    """Boot a cell, do what it is for, and return its result; Lacking or Unable where that is not for this machine."""
    try:
        with _counted(job):
            if job.run in _stopped:
                return Unable("the run was ended")
            require_program(job.parcel.arch.facts.qemu)  # before an image is sent, or pytest finds that out
            image = find_parcel(job.parcel)
            if image is None:
                return Lacking(cache_place())
            return _run_pytest(job, image) if job.pytest else _run_guest(job, image)
    except ToolMissingError as e:
        return Unable(str(e), e.hint, whole=True)
    except WorldError as e:
        return Unable(str(e), e.hint)
    except OSError as e:
        return Unable(f"the system refused: {e}")


def stop(run: str) -> int:
    """End the machines of a run's cells that are booted here, wait for what they leave to be gone; return how many."""
    with _lock:
        _stopped.add(run)
        found = [end for (of, _), end in _running.items() if of == run]
    for end in found:
        with suppress(OSError):
            end()
    with _lock:
        _lock.wait_for(lambda: run not in _present.values(), timeout=_STOP_S)
    return len(found)


def stop_all() -> None:
    """End the machines of all runs that are booted here."""
    with _lock:
        runs = set(_present.values())
    for run in runs:
        stop(run)


_lock = threading.Condition()
_present: dict[int, str] = {}  # thread -> the run whose cell it has
_running: dict[tuple[str, str], Callable[[], None]] = {}
_stopped: set[str] = set()


@contextmanager
def _counted(job: Job) -> Iterator[None]:
    """Have `stop` wait for this thread to be done."""
    with _lock:
        _present[threading.get_ident()] = job.run
    try:
        yield
    finally:
        with _lock:
            del _present[threading.get_ident()]
            _lock.notify_all()


@contextmanager
def _ended_by_stop(job: Job, end: Callable[[], None]) -> Iterator[None]:
    """Have `stop` end what runs in the block, also where it was called a moment ago."""
    with _lock:
        _running[job.run, job.key] = end
        late = job.run in _stopped
    try:
        if late:
            end()
        yield
    finally:
        with _lock:
            _running.pop((job.run, job.key), None)


class _Ledger:
    """The channel's bytes, to a limit."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.cut = False

    def take(self, piece: bytes) -> None:
        room = MOST_LEDGER - len(self.data)
        self.cut = self.cut or len(piece) > room
        self.data += piece[:room]

    def whole(self) -> bytes:
        """Return what came, to the end of its last line."""
        return bytes(self.data[: self.data.rfind(b"\n") + 1])


def _run_guest(job: Job, image: Path) -> CellResult:
    started = time.monotonic()
    ledger = _Ledger()
    console: list[str] = []
    try:
        session = _session(job, image)
        with session.vm(listeners={Line.CHANNEL: ledger.take}) as vm, _ended_by_stop(job, vm.kill):
            try:
                status, output = _live(job, vm)
            finally:
                console.append(vm.console)
        notes = _notes(vm, ledger)
        found = CellResult(status, 0.0, output=output, notes=notes)
        if status and not job.command and (said := complaints(vm.ledger)):
            found = replace(found, cause="; ".join(said))
    except WorldError:
        raise
    except GuestError as e:
        first = e.args[0] if e.args else ""
        found = CellResult(e.exit_status, 0.0, cause=str(first), hint=e.hint)
    except HostbuildError as e:
        found = CellResult(e.exit_status, 0.0, cause=str(e), hint=e.hint)
    return replace(
        found,
        seconds=time.monotonic() - started,
        ledger=ledger.whole(),
        console="".join(console)[-MOST_TEXT:],
    )


def _session(job: Job, image: Path) -> Session:
    session = prepare(
        image,
        job.machine,
        append=job.append,
        memory=job.guest_memory,
        accel=job.accel,
        agent=bool(job.command),
        poweroff=not job.command,
        shell=False,
        limit_s=job.limit_s,
    )
    if job.command:
        if job.machine.board.serial_lines == 1:
            raise InputError(
                f"the machine {job.machine.name} has one serial line: no command can be run on it"
            )
        require_agent(image, session.manifest)
    return session


def _live(job: Job, vm: VM) -> tuple[int, str]:
    """Wait for the guest to end, or run the command in it; return the status and what the command wrote."""
    if not job.command:
        return vm.wait(), ""
    agent = make_ready(vm)
    done = vm.run(list(job.command), input=job.stdin, timeout=job.limit_s)
    power_off(vm, agent, done.status)
    return done.status, _text(done.stdout + done.stderr)


def _notes(vm: VM, ledger: _Ledger) -> tuple[str, ...]:
    notes = [said] if (said := out_of_memory(vm.console)) else []
    if vm.skipped.count:
        notes.append(f"on the channel, {vm.skipped}")
    rate = vm.clock_rate()
    if rate is not None:
        notes.append(
            f"the guest's clock ran {rate:.2g} times as fast as the host's: its times cannot be trusted"
        )
    if ledger.cut:
        notes.append(f"the ledger was cut at {MOST_LEDGER >> 20} MiB")
    return tuple(notes)


def _run_pytest(job: Job, image: Path) -> CellResult:
    """Run the cell's tests by pytest and the plugin of hostbuild.testing, in a process of its own."""
    started = time.monotonic()
    with scratch_directory() as scratch:
        for name, content in job.files:
            path = scratch / "tests" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        log = scratch / "output"
        machine = str(scratch / "tests" / "machine.toml") if _has_machine(job) else job.machine.name
        argv = [
            "setpriv", "--pdeathsig", "KILL", "--",
            sys.executable, "-m", "pytest", "-q", "--color=no", "-p", "no:cacheprovider", "--rootdir=.",
            f"--guest-image={image}", f"--guest-machine={machine}", f"--guest-accel={job.accel}", *job.pytest,
        ]  # fmt: skip
        with log.open("wb") as out:
            process = spawn(argv, stdout=out, stderr=out, cwd=scratch / "tests", new_session=True)
        try:
            with _ended_by_stop(job, lambda: end_group(process)):
                status = wait_for(process, job.limit_s)
        finally:
            end_group(process)
        output = _text(log.read_bytes())
    cause = "pytest found no test" if status == _NO_TESTS else ""
    if status is None:
        status, cause = _TIME_LIMIT, f"pytest was still running after {job.limit_s:g} s, and was ended"
    if status < 0:
        status, cause = 128 - status, f"pytest was ended by {signal.Signals(-status).name}"
    if status and not cause:
        cause = output.strip().rpartition("\n")[2]
    return CellResult(status, time.monotonic() - started, cause=cause, output=output)


def _has_machine(job: Job) -> bool:
    return any(name == "machine.toml" for name, _ in job.files)


def _text(data: bytes) -> str:
    return data[-MOST_TEXT:].decode("utf-8", "replace")
