"""What is plugged into a machine while it runs: each device gets a free port and a backend, and gives both back."""

import contextlib
import re
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

_BOOLS = {
    "on": True,
    "yes": True,
    "true": True,
    "y": True,
    "off": False,
    "no": False,
    "false": False,
    "n": False,
}
_NUMBER = re.compile(r"u?int(8|16|32|64)?|size")
_AMOUNT = re.compile(r"(?P<number>-?(0[xX][0-9a-fA-F]+|0|[1-9][0-9]*))(?P<unit>[BbKkMmGgTtPpEe])?")


@dataclass(frozen=True, slots=True)
class _Plugged:
    port: str
    backend: BackendSpec | None


def as_type(qemus: str, name: str, value: str | int | bool) -> object:
    """Return a property's value as QEMU's monitor wants it, which since 9.2 takes no text for a number.

    qemus: the type as device-list-properties names it (qapi/qdev.json). What cannot be turned into it stays as it
    is: QEMU says what is wrong with it.
    """
    text = ("off", "on")[value] if isinstance(value, bool) else str(value)
    if qemus == "bool":
        return _BOOLS.get(text, value)
    if _NUMBER.fullmatch(qemus) and name != "addr":  # a PCI address is written as 06.0
        match = _AMOUNT.fullmatch(text)
        unit = (match["unit"] or "").upper() if match else ""
        if match is None or (unit and qemus != "size"):
            return value
        return int(match["number"], 0) << (10 * "BKMGTPE".index(unit or "B"))
    return text if qemus else value


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
        types = self._types(driver)
        values: dict[str, object] = {
            key: as_type(types.get(key, ""), key, props.get(key, value)) for key, value in device.props
        }
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

    def _types(self, driver: str) -> dict[str, str]:
        """Ask for the types of a device's properties by their names; none of a device that QEMU does not have."""
        try:
            told = self._monitor.execute("device-list-properties", {"typename": driver})
        except CommandRefusedError:
            return {}
        rows = told if isinstance(told, list) else []
        return {row["name"]: row["type"] for row in rows}

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
