"""Workers on other computers, started by this machine's ssh, which carries all that they and the scheduler say.

    ssh -R A:127.0.0.1:SCHEDULER -L B:127.0.0.1:WORKER HOST python3 -m hostbuild.matrix.workers.remote

Nothing listens on a network: the scheduler is on this machine's loopback, a worker on its own, and each finds the other
at its own 127.0.0.1. The run's key (cluster.py) goes over the line, so that other users of either machine are
kept out, too. Names, users, keys, jumps: as ~/.ssh/config has them. A worker ends with its connection.
"""

import contextlib
import re
import shlex
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from hostbuild.errors import UsageError, WorldError
from hostbuild.matrix.workers.cluster import opened_cluster
from hostbuild.matrix.workers.ssh_line import Line, Note

if TYPE_CHECKING:
    from distributed import Client

PYTHON = "python3"
_HOST = re.compile(r"(?!-)[^\s\0]+")


def check_host(host: str) -> str:
    """Return a host as ssh takes it. Raises UsageError for what would be an option, or is no word."""
    if not _HOST.fullmatch(host):
        raise UsageError(
            f"--ssh {host!r} is not a host", hint="--ssh HOST, --ssh USER@HOST, or a name of ~/.ssh/config"
        )
    return host


@contextlib.contextmanager
def ssh_cluster(hosts: Sequence[str], python: str, note: Note) -> Iterator["Client"]:
    """Start a scheduler here and a worker on each host, as many guests as it has CPUs. They end with the block.

    python: the interpreter there that has hostbuild and dask. note: is told of hosts that are left out.
    Raises WorldError where none is left, ToolMissingError without ssh or openssl.
    """
    from distributed import Client

    with opened_cluster(0, 0) as own, contextlib.ExitStack() as stack:
        lines = [Line(host, python, own, note) for host in dict.fromkeys(hosts)]
        for line in lines:
            stack.callback(line.end)
        starts = [threading.Thread(target=line.start) for line in lines]
        for one in starts:
            one.start()
        for one in starts:
            one.join()
        bad = [f"{line.host}: {line.trouble}" for line in lines if line.trouble]
        if len(bad) == len(lines):
            raise WorldError(
                f"no worker could be started by ssh: {'; '.join(bad)}",
                hint=f"ssh {shlex.quote(hosts[0])} {python} -c 'import hostbuild, distributed' has to work, without a "
                "password (--ssh-python names another interpreter)",
            )
        for words in bad:
            note(f"a computer is left out: {words}")
        address = own.cluster.scheduler_address
        client = Client(address, security=own.security, set_as_default=False)
        yield stack.enter_context(contextlib.closing(client))
