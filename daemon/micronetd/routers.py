"""The socket on which the kernel tells what routers advertise and it has no use for itself (advertised.py).

pyroute2 has no such message, so the socket is the standard library's.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

from micronetd.advertised import GROUP, Advertised, parse_advertised

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LARGEST = 65536


@contextlib.contextmanager
def listening(take: Callable[[Advertised], None]) -> Iterator[None]:
    """Have `take` called for each thing told, as long as this lasts. Raises OSError where there is no such socket."""
    loop = asyncio.get_running_loop()
    kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK
    with socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE) as sock:
        sock.bind((0, GROUP))
        loop.add_reader(sock, _read, sock, take)
        try:
            yield
        finally:
            loop.remove_reader(sock)


def _read(sock: socket.socket, take: Callable[[Advertised], None]) -> None:
    try:
        data, (port, _) = sock.recvfrom(_LARGEST)
    except OSError:  # some were lost: routers say everything again
        return
    if port == 0:  # from the kernel
        for told in parse_advertised(data):
            take(told)
