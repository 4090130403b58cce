"""What is plugged into a machine while it runs: each device gets a free port and a backend, and gives both back."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass

from hostbuild.errors import GuestError
from hostbuild.qemu.catalog import plug_refusal
from hostbuild.qemu.device import (
    BackendSpec,
    Bus,
    Device,
    backend_commands,
    backend_removal,
    full_name,
    with_backend,
)
from hostbuild.qemu.machine import Machine, root_port_names
from hostbuild.qemu.monitor import CommandRefusedError, Monitor


@dataclass(frozen=True, slots=True)
class _Plugged:
    port: str
    backend: BackendSpec | None


class Ports:
    """The places of a running machine that devices are plugged into."""

    def __init__(self, machine: Machine, monitor: Monitor) -> None:
        self._machine = machine
        self._monitor = monitor
        self._count = 0
        self._plugged: dict[str, _Plugged] = {}

    @property
    def plugged(self) -> list[str]:
        """The ids of what is plugged in."""
        return list(self._plugged)

    def add(self, driver: str, name: str, bus: str, props: Mapping[str, str | int | bool]) -> str:
        """Plug a device in and return its id: `name`, or one made up if that is empty.

        Its backend is made as --device would. Without `bus`, a PCI device goes to the first free root port of a board
        that has them, anything else where QEMU puts it. `size` and `file` describe a disk. Raises InputError for a
        device or a property that QEMU does not have, CommandRefusedError for what it refuses otherwise.
        """
        self._count += 1
        driver = full_name(driver)
        device_id = name or f"hot{self._count}"
        given = Device(driver).having(**{key: str(value) for key, value in props.items()})
        device, backend = with_backend(given, f"hotbackend{self._count}")
        port = bus or self._free_port(device)
        values: dict[str, object] = {key: props.get(key, value) for key, value in device.props}
        if port:
            values["bus"] = port
        for command, arguments in backend_commands(backend):
            self._monitor.execute(command, arguments)
        try:
            self._monitor.device_add(driver, device_id, values)
        except CommandRefusedError as e:
            self._remove_backend(backend)
            raise plug_refusal(driver, str(e), self._machine.board.arch) or e from None
        except GuestError:
            self._remove_backend(backend)
            raise
        self._plugged[device_id] = _Plugged(port, backend)
        return device_id

    def remove(self, device_id: str, timeout: float) -> None:
        """Ask the guest to let the device go, wait until it has, take its backend away. Raises GuestTimeoutError."""
        self._monitor.device_del(device_id, timeout=timeout)
        plugged = self._plugged.pop(device_id, None)
        if plugged is not None:
            self._remove_backend(plugged.backend)

    def _free_port(self, device: Device) -> str:
        if device.bus is not Bus.PCI or not self._machine.board.pcie:
            return ""
        taken = {plugged.port for plugged in self._plugged.values()}
        taken |= {device.get("bus") or "" for device in self._machine.devices}
        for port in root_port_names(self._machine):
            if port not in taken:
                return port
        raise GuestError(
            f"no free port for {device.driver}: {self._machine.name} has {self._machine.root_ports}, all taken",
            hint="unplug a device first, or give the machine file more root_ports",
        )

    def _remove_backend(self, backend: BackendSpec | None) -> None:
        if backend is None:
            return
        command, arguments = backend_removal(backend)
        with contextlib.suppress(CommandRefusedError):  # still in use for a moment: it goes with QEMU then
            self._monitor.execute(command, arguments)
