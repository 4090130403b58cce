"""Devices plugged into, and out of, a running guest, and what the guest made of each."""

import json
from collections.abc import Sequence
from typing import Any

from hostbuild.arch import Arch
from hostbuild.errors import GuestError, InputError, WorldError
from hostbuild.guest.agent import Agent
from hostbuild.guest.command import request, run_to_end
from hostbuild.ledger.stream import Record
from hostbuild.near import did_you_mean
from hostbuild.qemu.catalog import LIST_HINT, read_catalog
from hostbuild.qemu.device import parse_device
from hostbuild.qemu.monitor import CommandRefusedError
from hostbuild.qemu.vm import VM

_APPEARS_S = 10.0  # until the first uevent of a new device
_SETTLE_S = 60


def plug(vm: VM, agent: Agent, text: str) -> dict[str, Any]:
    """Plug a device in, wait until the guest has dealt with it, and return its id, what was loaded, what drives it.

    Raises UsageError, InputError for a device that QEMU does not know, GuestError for one that it refuses.
    """
    device = parse_device(text)
    require_known(device.driver, vm.machine.board.arch)
    props: dict[str, str | int | bool] = dict(device.without("id", "bus").props)
    since = len(vm.ledger)
    try:
        name = vm.device_add(device.driver, id=device.get("id") or "", bus=device.get("bus") or "", **props)
    except CommandRefusedError as e:
        raise InputError(f"QEMU refuses the device {text}: {_reason(e)}", hint=LIST_HINT) from e
    try:
        vm.wait_for(lambda record: record.get("action") == "add", timeout=_APPEARS_S, since=since)
    except GuestError:
        return {"id": name, "loaded": [], "failed": [], "drivers": {}, "seen": False}
    run_to_end(agent, request(["modaliasd", "settle", "--timeout", str(_SETTLE_S)]), timeout=_SETTLE_S + 30)
    return {"id": name, "seen": True} | _made_of_it(vm.ledger[since:])


def unplug(vm: VM, name: str) -> dict[str, Any]:
    """Unplug a device, waiting until the guest has let it go. Raises InputError for one that is not there."""
    try:
        vm.device_del(name)
    except CommandRefusedError as e:
        raise InputError(
            f"cannot unplug {name}: {_reason(e)}{did_you_mean(name, vm.plugged)}",
            hint=f"plugged in: {', '.join(vm.plugged)}" if vm.plugged else "nothing has been plugged in",
        ) from e
    except GuestError as e:
        raise type(e)(str(e.args[0]), hint=e.hint) from e
    return {"id": name}


def require_known(driver: str, arch: Arch) -> None:
    """Refuse a device that the installed QEMU of an architecture lacks. Raises InputError, with the near names."""
    try:
        known = [word for one in read_catalog(arch) for word in (one.name, one.alias) if word]
    except WorldError:  # QEMU itself will say
        return
    if driver not in known:
        raise InputError(f"QEMU has no device {driver}{did_you_mean(driver, known)}", hint=LIST_HINT)


def _made_of_it(records: Sequence[Record]) -> dict[str, Any]:
    loads = [record for record in records if record["type"] == "load"]
    return {
        "loaded": [str(record["module"]) for record in loads if record.get("outcome") == "inserted"],
        "failed": [str(record["module"]) for record in loads if record.get("outcome") == "failed"],
        "drivers": {
            str(record["devpath"]).rpartition("/")[2]: str(record["driver"])
            for record in records
            if record.get("action") == "bind" and record.get("driver")
        },
    }


def _reason(error: CommandRefusedError) -> str:
    """Return QEMU's own words."""
    text = str(error.args[0]).partition(": ")[2]
    try:
        return str(json.loads(text)["desc"])
    except (ValueError, LookupError, TypeError):
        return text
