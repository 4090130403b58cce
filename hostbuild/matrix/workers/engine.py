"""Cells given to dask.distributed, and their results taken from it.

dask decides which worker boots what: each says by its resources how many guests it holds (`guest`) and how much memory
they may take together (`memory`, MiB). What is here decides about cells: no more of them are handed over than the
workers can hold twice, so that a cluster that goes away loses little; one whose worker is lost is run again by dask;
one that a worker cannot boot (no QEMU) goes to another; a worker that lacks an image is sent it, once. A test that
fails is a result like any other, and never run again.
"""

import queue
import secrets
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hostbuild.errors import WorldError
from hostbuild.log import debug
from hostbuild.matrix.asked.job import CellResult, Job, Lacking, Lost, Parcel, Runner, Unable
from hostbuild.matrix.workers.parcels import Content
from hostbuild.matrix.workers.seats import Seat, admitted, name_of, seat_of
from hostbuild.matrix.workers.worker import introduce, run_job, stop_run, take_parcel

if TYPE_CHECKING:
    from distributed import Client, Future

_TICK_S = 0.5  # how often the cluster is looked at
_PATIENCE_S = 180.0  # without any worker, or any connection, before that is an error
_OWN_PATIENCE_S = 1800.0  # the same where the workers are ours, and start anew by themselves, if slowly
_ATTEMPTS = 12  # to have one cell run: one that takes its workers along is not run for ever
_FORGOTTEN = ("cancelled", "lost")  # states of a future whose scheduler was started anew, or is gone
_SENDINGS = 3  # of one parcel to one place, which may have lost it again


@dataclass(slots=True)
class _Flight:
    """A job on its way. tried: the workers that could not boot it, and why the last one could not.

    given: those that dask may give it to, None for any. attempt: how often it was handed over.
    """

    job: Job
    given: frozenset[str] | None = None
    tried: set[str] = field(default_factory=set)
    why: Unable | None = None
    homeless: int = 0  # ticks that no worker was there for it
    attempt: int = 0
    alone: bool = False  # it is run with no other beside it: what its worker is lost by is this cell then


class Engine:
    """A run of jobs on a cluster. parcels: gives the content of a parcel that a worker lacks."""

    def __init__(
        self,
        client: "Client",
        runner: Runner,
        content: Callable[[Parcel], Content],
        *,
        patience_s: float | None = None,
    ) -> None:
        self._client = client
        self._runner = runner
        self._content = content
        self._ours = client.cluster is not None
        self._patience_s = patience_s or (_OWN_PATIENCE_S if self._ours else _PATIENCE_S)
        self._name = secrets.token_hex(4)
        self._done: queue.SimpleQueue[Future] = queue.SimpleQueue()
        self._flying: dict[Future, _Flight] = {}
        self._waiting: deque[_Flight] = deque()
        self._suspects: deque[_Flight] = (
            deque()
        )  # lost with their workers again and again: run one by one at the end
        self._seats: Mapping[str, Seat] = {}
        self._unable: dict[tuple[str, str], Unable] = {}  # (worker, architecture): it has no QEMU for it
        self._sent: dict[tuple[str, str], int] = {}  # (place, digest)
        self._admitted: dict[str, bool] = {}  # workers that were looked at: whether they are of use
        self._named: dict[str, str] = {}  # what people call them
        self._crowd = 0  # how many workers dask knows
        self._looked = float("-inf")
        self._alone_since: float | None = None
        self.notes: list[str] = []

    def run(self, jobs: Sequence[Job]) -> Generator[tuple[Job, CellResult | Lost], None, None]:
        """Yield each job with what became of it, as they end.

        Raises WorldError where the cluster is gone. Whatever ends the iteration ends the machines that still run.
        """
        self._waiting.extend(map(_Flight, jobs))
        runs = {job.run for job in jobs}
        try:
            while self._flying or self._waiting or self._suspects:
                looked = self._look()
                self._hand_over()
                if looked or not self._flying:  # it goes through all of them
                    yield from self._strays()
                yield from self._landed()
        finally:
            if self._flying:
                self._stop(runs)

    # The cluster

    def _look(self) -> bool:
        """See which workers are there, not more often than each tick; return whether it was time.

        Raises WorldError where none is there for too long.
        """
        now = time.monotonic()
        if now - self._looked < _TICK_S:
            return False
        self._looked = now
        self._seats = self._read_seats() if self._client.status == "running" else {}
        if self._seats:
            self._alone_since = None
            return True
        if self._alone_since is None:
            self._alone_since = now
            debug("matrix", "no worker is there")
        if self._client.status == "closed" or now - self._alone_since > self._patience_s:
            gone = "the scheduler is gone" if self._client.status != "running" else "no worker is there"
            raise WorldError(
                f"{gone}: {len(self._flying) + len(self._waiting)} cells were not run",
                hint="once there are workers again, run the matrix again: what is done is kept",
            )
        return True

    def _read_seats(self) -> dict[str, Seat]:
        try:
            workers = self._client.scheduler_info(n_workers=-1)["workers"]
        except (OSError, TimeoutError) as e:
            debug("matrix", f"the scheduler does not answer: {e}")
            return {}
        self._named |= {address: name_of(address, worker) for address, worker in workers.items()}
        self._admit([address for address in workers if address not in self._admitted])
        self._crowd = len(workers)
        return {
            address: seat_of(worker) for address, worker in workers.items() if self._admitted.get(address)
        }

    def _admit(self, fresh: list[str]) -> None:
        """Look at workers that are new: whether they have hostbuild, of this version."""
        if not fresh:
            return
        try:
            answers = self._client.run(introduce, ours=self._ours, workers=fresh, on_error="return")
        except OSError as e:  # one of them is gone again
            debug("matrix", f"a worker does not answer: {e}")
            return
        for address, answer in answers.items():
            if isinstance(answer, OSError):  # dask's CommClosedError is one
                continue
            fits, trouble = admitted(answer)
            self._admitted[address] = fits
            if trouble:
                out = "" if fits else "is left out: "
                self.notes.append(f"the worker {self._named[address]} {out}{trouble}")

    def _places_for(self, flight: _Flight) -> list[str]:
        """Return the workers that could boot a job."""
        job, arch = flight.job, flight.job.parcel.arch.value
        return [
            address
            for address, seat in self._seats.items()
            if seat.holds(job) and address not in flight.tried and (address, arch) not in self._unable
        ]

    # Out

    def _hand_over(self) -> None:
        """Give dask as many jobs as keep the workers busy, the first ones first."""
        if self._suspects and not (self._flying or self._waiting):
            self._waiting.append(self._suspects.popleft())
        room = 2 * int(sum(seat.guests for seat in self._seats.values())) + 1 - len(self._flying)
        for _ in range(min(room, len(self._waiting)) if self._seats else 0):
            flight = self._waiting.popleft()
            places = self._places_for(flight)
            if not places:
                self._waiting.append(flight)
                continue
            flight.attempt += 1
            # dask counts resources itself; what it cannot know is told it by names.
            flight.given = None if len(places) == self._crowd else frozenset(places)
            future = self._client.submit(
                run_job,
                self._runner,
                flight.job,
                key=f"cell-{self._name}-{flight.job.key}-{flight.attempt}",
                pure=False,
                retries=0,
                resources={"guest": 1, "memory": flight.job.memory},
                workers=None if flight.given is None else sorted(flight.given),
                allow_other_workers=False,
            )
            self._flying[future] = flight
            future.add_done_callback(self._done.put)

    def _strays(self) -> Iterator[tuple[Job, Lost]]:
        """Give up the jobs that no worker which is there can boot: those on their way, and those that wait."""
        for future, flight in list(self._flying.items()):
            if flight.given is not None and self._seats and not flight.given & self._seats.keys():
                # The workers that it was for are gone; one that is started anew has another address.
                self._drop(future)
                self._waiting.appendleft(flight)
                continue
            flight.homeless = 0 if not self._seats or self._places_for(flight) else flight.homeless + 1
            if flight.homeless > self._patience_s / _TICK_S:
                self._drop(future)
                yield flight.job, self._nobody(flight)
        for flight in [one for one in self._waiting if one.attempt >= _ATTEMPTS]:
            self._waiting.remove(flight)
            yield flight.job, Lost(f"it was handed over {_ATTEMPTS} times, and never came to its end")
        if self._flying or not self._seats:
            return
        # Nothing is on its way, and still nobody took these.
        for flight in [one for one in self._waiting if not self._places_for(one)]:
            self._waiting.remove(flight)
            yield flight.job, self._nobody(flight)

    def _drop(self, future: "Future") -> None:
        del self._flying[future]
        future.cancel()

    def _nobody(self, flight: _Flight) -> Lost:
        """Say why no worker boots a job."""
        job = flight.job
        arch = job.parcel.arch.value
        why = flight.why or next((why for (_, of), why in self._unable.items() if of == arch), None)
        if why is not None:
            return Lost(f"no worker can boot it: {why.cause}", why.hint)
        most = max((seat.memory for seat in self._seats.values() if seat.guests >= 1), default=None)
        if most is None:
            return Lost(
                "no worker takes guests: none has the resource guest", "--resources 'guest=1 memory=2048'"
            )
        return Lost(
            f"no worker takes a guest of {job.memory} MiB: the largest has {most:g}",
            "fewer workers on a machine leave more for each (--workers), as do their --resources",
        )

    # In

    def _landed(self) -> Iterator[tuple[Job, CellResult | Lost]]:
        from distributed import KilledWorker

        try:
            future = self._done.get(timeout=_TICK_S)
        except queue.Empty:
            return
        flight = self._flying.pop(future, None)
        if flight is None:
            return  # given up before
        if future.status != "finished":
            yield from self._without_result(future, flight)
            return
        try:
            worker, outcome = future.result()
        except (CancelledError, KilledWorker, OSError) as e:  # its worker was lost before it could be fetched
            debug("matrix", f"{flight.job.name}: {e}")
            self._waiting.appendleft(flight)
            return
        if isinstance(outcome, CellResult):
            yield flight.job, outcome
        elif isinstance(outcome, Lacking):
            self._send(worker, outcome, flight)
        else:
            self._turned_down(worker, outcome, flight)

    def _without_result(self, future: "Future", flight: _Flight) -> Iterator[tuple[Job, Lost]]:
        from distributed import KilledWorker

        if future.status in _FORGOTTEN:
            debug("matrix", f"{flight.job.name}: {future.status}")
            self._waiting.appendleft(flight)
            return
        error = future.exception()
        if isinstance(error, KilledWorker) and not flight.alone:
            # dask suspects all cells that were on a lost worker, also those that only waited there.
            flight.alone = True
            flight.attempt = 0
            self._suspects.append(flight)
            return
        why, fix = f"the worker failed: {type(error).__name__}: {error}", "is its hostbuild the same?"
        if isinstance(error, KilledWorker):
            why = "each worker that booted it was lost: it may end them itself"
            fix = "does the machine have enough memory? dmesg tells of processes that the kernel ended"
        yield flight.job, Lost(why, fix)

    def _turned_down(self, worker: str, why: Unable, flight: _Flight) -> None:
        arch = flight.job.parcel.arch.value
        if why.whole:
            if (worker, arch) not in self._unable:
                self.notes.append(f"the worker {self._named[worker]} boots no {arch} guests: {why.cause}")
            self._unable[worker, arch] = why
        flight.tried.add(worker)
        flight.why = why
        self._waiting.appendleft(flight)

    def _send(self, worker: str, lacking: Lacking, flight: _Flight) -> None:
        """Send a worker the parcel that it lacks, unless another that shares its cache was sent it."""
        parcel = flight.job.parcel
        where = (lacking.place, parcel.digest)
        sent = self._sent.get(where, 0)
        trouble = ""
        if sent == 0 or flight.attempt > 2:
            if sent >= _SENDINGS:
                trouble = f"the worker {self._named[worker]} does not keep the image that it was sent"
            else:
                debug("matrix", f"sending {parcel.size >> 20} MiB to {self._named[worker]}")
                content = self._content(parcel)
                answers = self._client.run(take_parcel, parcel, content, workers=[worker], on_error="return")
                trouble = str(answers.get(worker, "it does not answer"))
                self._sent[where] = sent + 1
        if trouble:
            self._turned_down(worker, Unable(f"the image cannot be kept there: {trouble}"), flight)
        else:
            self._waiting.appendleft(flight)

    def _stop(self, runs: set[str]) -> None:
        """End what still runs: dask forgets it, and the workers' machines are ended."""
        for future in self._flying:
            future.cancel(reason="the run was ended")
        if self._client.status == "running":
            for run in runs:
                try:
                    self._client.run(stop_run, run, on_error="ignore")
                except (OSError, TimeoutError) as e:
                    debug("matrix", f"cannot end the machines of the run: {e}")
