"""What runs in a worker of the cluster: imported there, so it has to be the same hostbuild everywhere."""

import logging
import signal
import threading
from collections.abc import Callable

from hostbuild import ui
from hostbuild.errors import HostbuildError
from hostbuild.matrix.asked.job import Job, Outcome, Parcel, Runner
from hostbuild.matrix.workers.parcels import Content, keep_parcel
from hostbuild.matrix.workers.run_cell import stop
from modaliasd import __version__


def run_job(runner: Runner, job: Job) -> tuple[str, Outcome]:
    """Run a cell, and say on which worker."""
    from distributed import get_worker

    return get_worker().address, runner(job)


def introduce(*, ours: bool) -> tuple[str, str]:
    """Return which hostbuild and which distributed this is.

    From now on it says nothing of its own: what there is to tell is in results.

    ours: the worker is a child of whoever asks. A terminal's Ctrl-C reaches it, too; it is for its parent to end it.
    """
    if ours and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    ui.be_quiet()
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    return versions()


def versions() -> tuple[str, str]:
    """Return the versions of hostbuild and of distributed."""
    import distributed

    return __version__, distributed.__version__


def take_parcel(parcel: Parcel, content: Content) -> str:
    """Keep a parcel; return why that did not work, "" if it did."""
    return _in_words(lambda: keep_parcel(parcel, content))


def stop_run(run: str) -> int:
    """End a run's machines, from the worker's loop: its threads are busy with them."""
    return stop(run)


def _in_words(work: Callable[[], object]) -> str:
    try:
        work()
    except (HostbuildError, OSError) as e:
        return str(e)
    return ""
