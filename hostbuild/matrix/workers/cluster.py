"""The cluster that cells run on: one of this machine's own, or a scheduler that somebody has started."""

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hostbuild.errors import UsageError, WorldError
from hostbuild.fs.scratch import scratch_directory
from hostbuild.log import is_on
from hostbuild.run import run

if TYPE_CHECKING:
    from distributed import Client, LocalCluster, Security

INSTALL = "pip install 'modaliasd[matrix]'"
_CONNECT_S = 20
_LOSSES = 2  # of workers under one cell; with the third it is run alone (engine.py)
_CLOSE_S = 10
_MIB = 1 << 20


def require_dask() -> None:
    """Refuse to begin without the extra. Raises WorldError with what installs it."""
    try:
        import distributed  # noqa: F401
    except ModuleNotFoundError as e:
        raise WorldError(
            f"the Python package {e.name or 'distributed'} is not installed: hostbuild matrix runs on dask.distributed",
            hint=INSTALL,
        ) from e


@contextlib.contextmanager
def connected(address: str, *, patience_s: float = _CONNECT_S) -> Iterator["Client"]:
    """Connect to a scheduler that runs. Raises UsageError for no address, WorldError where nobody answers."""
    from distributed import Client

    _hush()
    try:
        client = Client(address, timeout=patience_s, set_as_default=False)
    except (ValueError, KeyError, TypeError) as e:
        raise UsageError(f"--scheduler {address!r}: {e}", hint="--scheduler tcp://HOST:8786") from e
    except OSError as e:
        raise WorldError(
            f"no scheduler answers at {address}: {e}", hint="start one there: dask scheduler --port 8786"
        ) from e
    with contextlib.closing(client):
        yield client


@dataclass(frozen=True, slots=True)
class Own:
    """A scheduler of this process's own, and the key by which all who speak with it are known."""

    cluster: "LocalCluster"
    key: Path
    certificate: Path
    security: "Security"


@contextlib.contextmanager
def own_cluster(workers: int, memory: int) -> Iterator["Client"]:
    """Start workers on this machine, one process for each guest; `memory`: MiB that their guests may take together.

    They end with the block; should this process be killed, they end by themselves, and the kernel ends their machines.
    Raises ToolMissingError without openssl.
    """
    from distributed import Client

    with (
        opened_cluster(workers, memory // workers) as own,
        contextlib.closing(Client(own.cluster, set_as_default=False)) as client,
    ):
        yield client


@contextlib.contextmanager
def opened_cluster(workers: int, memory: int) -> Iterator[Own]:
    """Start a scheduler and workers on this machine; `memory`: MiB for each. They end with the block.

    They listen on loopback alone, and speak with nobody who lacks the run's own key: other users of this machine
    could have them do anything. Raises ToolMissingError without openssl.
    """
    import dask
    from distributed import LocalCluster

    _hush()
    settings = {
        "distributed.scheduler.allowed-failures": _LOSSES,
        "distributed.worker.memory.terminate": False,  # the guests' memory is QEMU's, and reckoned by us
        "distributed.comm.timeouts.connect": "60s",  # a machine that boots guests on all its cores is slow to answer
        "distributed.admin.tick.limit": "1h",
        "distributed.deploy.lost-worker-timeout": "1h",  # else one that starts anew slowly is taken away for good
        "distributed.scheduler.worker-ttl": None,
        "distributed.scheduler.http.routes": [],
        "distributed.worker.http.routes": [],
    }
    with contextlib.ExitStack() as stack:
        scratch = stack.enter_context(scratch_directory())
        stack.enter_context(dask.config.set({**settings, "temporary-directory": str(scratch)}))
        key, certificate = _make_key(scratch)
        security = end_by_key(key, certificate)
        cluster = LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            memory_limit=None,
            resources={"guest": 1, "memory": memory},
            dashboard_address="127.0.0.1:0",
            host="127.0.0.1",
            protocol="tls://",
            security=security,
            silence_logs=logging.DEBUG if is_on() else logging.CRITICAL,
            local_directory=str(scratch),
        )
        stack.callback(cluster.close, timeout=_CLOSE_S)
        yield Own(cluster, key, certificate, security)


def _make_key(directory: Path) -> tuple[Path, Path]:
    """Make a key for one run, and the certificate by which both ends of each connection know the other."""
    key, certificate = directory / "key.pem", directory / "cert.pem"
    run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-batch",
            "-days", "30", "-subj", "/CN=hostbuild-matrix", "-keyout", key, "-out", certificate,
        ],
        timeout=60,
    )  # fmt: skip
    return key, certificate


def end_by_key(key: Path, certificate: Path) -> "Security":
    """Return what makes an end of a connection know the other by the run's key."""
    from distributed import Security

    ends = {
        f"tls_{end}_{what}": str(path)
        for end in ("client", "scheduler", "worker")
        for what, path in (("key", key), ("cert", certificate))
    }
    return Security(tls_ca_file=str(certificate), require_encryption=True, **ends)


def free_memory() -> int:
    """Return how much memory guests may take on this machine, MiB: what is available, less a tenth for itself."""
    try:
        rows = dict(
            line.split(":") for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        )
        available = int(rows["MemAvailable"].split()[0]) // 1024
    except (OSError, KeyError, ValueError):
        available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // _MIB
    return available * 9 // 10


def workers_for(largest: int, cells: int) -> int:
    """Return how many guests to boot at a time: one a CPU, as many as `largest` MiB for each leave room for."""
    cpus = len(os.sched_getaffinity(0))
    return max(1, min(cpus, free_memory() // max(largest, 1), cells))


def _hush() -> None:
    """Have dask say nothing by itself: what matters of it becomes a result, an error, or a note of ours."""
    from distributed.versions import VersionMismatchWarning

    if not is_on():
        warnings.simplefilter("ignore", VersionMismatchWarning)  # also for another Python, which does no harm
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
