"""The worker of a computer that is reached by ssh: started there by ssh.py, which speaks with it over standard input.

    python3 -m hostbuild.matrix.workers.remote

It reads one line, an Order in JSON, says what it offers in another, and works until its input ends: with the
connection, whatever ended that. Then its machines are ended. It listens on loopback alone, and speaks with nobody who
lacks the run's key; ssh carries both ways.
"""

import asyncio
import json
import os
import sys
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from hostbuild import ui
from hostbuild.errors import HostbuildError, UsageError
from hostbuild.fs.scratch import scratch_directory
from hostbuild.matrix.workers.cluster import end_by_key, free_memory, require_dask
from hostbuild.matrix.workers.run_cell import stop_all
from modaliasd import __version__

_CLOSE_S = 5.0


@dataclass(frozen=True, slots=True)
class Order:
    """What a worker is told. name: what it is called there. key, certificate: PEM.

    Ports of loopback: `scheduler`, where the scheduler is reached here; `port`, the worker's own; `contact`, where the
    scheduler reaches that.
    """

    version: str
    name: str
    scheduler: int
    port: int
    contact: int
    key: str
    certificate: str

    def line(self) -> bytes:
        """Return it as it goes over the line."""
        return json.dumps(asdict(self)).encode() + b"\n"


@dataclass(frozen=True, slots=True)
class Offer:
    """What a worker says that it has, or why there is none: guests at a time, MiB that they may take together."""

    guests: int = 0
    memory: int = 0
    trouble: str = ""

    def line(self) -> bytes:
        """Return it as it goes over the line."""
        return json.dumps(asdict(self)).encode() + b"\n"


def parse_offer(line: bytes) -> Offer:
    """Parse a worker's first line. Raises UsageError for what is none: another program's words, or nothing."""
    try:
        table = json.loads(line)
        return Offer(int(table["guests"]), int(table["memory"]), str(table["trouble"]))
    except (ValueError, TypeError, KeyError) as e:
        shown = line.decode("utf-8", "replace").strip()[:200]
        raise UsageError(f"it says {shown!r}" if shown else "it says nothing") from e


def main() -> int:
    """Take the order, and work."""
    ui.be_quiet()
    try:
        table = json.loads(sys.stdin.buffer.readline(1 << 20))
        if (wanted := table["version"]) != __version__:
            raise UsageError(f"its hostbuild is {__version__}, not {wanted}")
        order = Order(**table)
        require_dask()
        with scratch_directory() as scratch:
            asyncio.run(_work(order, scratch))
    except (HostbuildError, OSError, ValueError, TypeError, KeyError, RuntimeError) as e:
        _say(
            Offer(trouble=str(e.__cause__ or e))
        )  # dask raises RuntimeError for a worker that does not start
        return 111
    return 0


async def _work(order: Order, scratch: Path) -> None:
    import dask
    from distributed import Worker

    key, certificate = scratch / "key.pem", scratch / "cert.pem"
    for path, text in ((key, order.key), (certificate, order.certificate)):
        path.touch(mode=0o600)
        path.write_text(text)
    guests, memory = len(os.sched_getaffinity(0)), free_memory()
    dask.config.set({"distributed.worker.http.routes": [], "distributed.comm.timeouts.connect": "60s"})
    worker = await Worker(
        f"tls://127.0.0.1:{order.scheduler}",
        name=order.name,
        nthreads=guests,
        resources={"guest": guests, "memory": memory},
        host="127.0.0.1",
        port=order.port,
        contact_address=f"tls://127.0.0.1:{order.contact}",
        security=end_by_key(key, certificate),
        memory_limit=None,
        dashboard=False,
        local_directory=str(scratch),
        silence_logs=50,
    )
    _say(Offer(guests, memory))
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    threading.Thread(target=_hear_end, args=(loop, ended), daemon=True).start()
    await ended.wait()
    await asyncio.to_thread(stop_all)
    with suppress(TimeoutError, OSError):
        await asyncio.wait_for(worker.close(timeout=_CLOSE_S), 2 * _CLOSE_S)


def _hear_end(loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
    while sys.stdin.buffer.read(1):
        pass
    loop.call_soon_threadsafe(ended.set)


def _say(offer: Offer) -> None:
    with suppress(OSError):
        sys.stdout.buffer.write(offer.line())
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    status = main()
    with suppress(OSError):
        sys.stdout.flush()
    os._exit(status)  # a thread that is left must not hold the process
