"""Ports of virtio serial controllers: pipes between guest and host, some hundred times as fast as an emulated UART.

Their driver, virtio_console, may be a module and come at any time, or go. It gives each port that has a name the
attribute `name` in /sys/class/virtio-ports (drivers/char/virtio_console.c).
"""

from __future__ import annotations

import os
from errno import ENODEV, ENOENT

CLASS = "/sys/class/virtio-ports"


def open_port(name: str, ports: str = CLASS, nodes: str = "/dev") -> int:
    """Open the port of this name, not blocking; return its descriptor.

    Raises OSError: ENODEV without the driver, ENOENT where it has no such port (yet).
    """
    try:
        found = sorted(os.listdir(ports))
    except OSError as e:
        raise OSError(ENODEV, "no driver of virtio ports") from e
    for port in found:
        if _name_of(f"{ports}/{port}/name") == name:
            return os.open(f"{nodes}/{port}", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    raise OSError(ENOENT, "no such port")


def _name_of(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read().rstrip("\n")
    except OSError:  # without a name, or gone by now
        return ""
