"""A guest's way out: `--network`, and `--forward PORT:GUESTPORT`, which leads a port of this machine's into it.

QEMU's user network (net/slirp.c): the guest is 10.0.2.15, this machine 10.0.2.2, the name server 10.0.2.3.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from hostbuild.errors import UsageError

_FORWARD = re.compile(
    r"(?:(?P<protocol>tcp|udp):)?(?:(?P<address>[\d.]+):)?(?P<port>\d{1,5}):(?P<guest>\d{1,5})"
)


@dataclass(frozen=True, slots=True)
class Forward:
    """A port of this machine's that leads to one of the guest's."""

    port: int
    guest_port: int
    protocol: str = "tcp"
    address: str = "127.0.0.1"


def parse_forward(text: str) -> Forward:
    """Parse [tcp:|udp:][ADDRESS:]PORT:GUESTPORT; without an address only this machine reaches it. Raises UsageError."""
    found = _FORWARD.fullmatch(text)
    if found is None:
        raise UsageError(f"forward {text!r}: expected PORT:GUESTPORT, for example 2222:22 or udp:5353:53")
    port, guest = int(found["port"]), int(found["guest"])
    if not (0 < port < 65536 and 0 < guest < 65536):
        raise UsageError(f"forward {text!r}: a port is a number from 1 to 65535")
    address = found["address"] or "127.0.0.1"
    if len(parts := address.split(".")) != 4 or not all(part and int(part) < 256 for part in parts):
        raise UsageError(f"forward {text!r}: {address} is not an IPv4 address")
    return Forward(port, guest, found["protocol"] or "tcp", address)


def network_argv(forwards: Sequence[Forward], *, is_open: bool) -> list[str]:
    """Return QEMU's arguments for a network card.

    is_open: the guest reaches other machines; else only what is forwarded reaches it, and it nobody.
    """
    if not forwards and not is_open:
        return []
    options = ["user", "id=network", f"restrict={'off' if is_open else 'on'}"]
    options += [f"hostfwd={one.protocol}:{one.address}:{one.port}-:{one.guest_port}" for one in forwards]
    return ["-netdev", ",".join(options), "-device", "virtio-net-pci,netdev=network"]
