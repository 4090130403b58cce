"""Guests that run: booted for a test, or kept for the next one that wishes the same; all gone at the end."""

import contextlib
import os
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from hostbuild.errors import GuestError, InputError, UsageError
from hostbuild.formats.initramfs.archive import read_image
from hostbuild.formats.manifest import manifest_path, read_manifest
from hostbuild.formats.sniff import require_there
from hostbuild.qemu.machine import MAX_CPUS, MAX_ROOT_PORTS, Machine, read_machine
from hostbuild.qemu.session import prepare
from hostbuild.testing.guest import Guest
from hostbuild.testing.marks import GuestWish, MachineWish

_SETTLE_S = 300.0  # an emulated guest of a busy machine
_NEEDED = {
    "usr/bin/modaliasd": "the daemon, whose ledger tells what becomes of a device",
    "usr/lib/micro/agent": "the agent, by which tests run commands and wait until it has settled",
}

_Key = tuple[Path, Machine, GuestWish, str]


def machine_of(name: str, wish: MachineWish) -> Machine:
    """Return a machine by name or file, changed as a test wishes. Raises as read_machine does."""
    machine = read_machine(name, wish.devices)
    limits = (("root_ports", wish.root_ports, 0, MAX_ROOT_PORTS), ("cpus", wish.cpus, 1, MAX_CPUS))
    for key, value, low, high in limits:
        if value is not None and not low <= value <= high:
            raise UsageError(f"the mark machine: {key} is a number from {low} to {high}, not {value}")
    if wish.root_ports is not None:
        machine = replace(machine, root_ports=wish.root_ports)
    return replace(machine, cpus=wish.cpus) if wish.cpus is not None else machine


class Pool:
    """The guests of a module or of a test, as a context manager."""

    def __init__(self) -> None:
        self._guests: dict[_Key, Guest] = {}
        self._running: dict[int, contextlib.ExitStack] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.ExitStack() as everything:
            for stack in self._running.values():
                everything.push(stack)

    def require(
        self, image: object, machine: Machine, wish: GuestWish, accel: str, kernel: str | None = None
    ) -> Guest:
        """Return a guest that has settled: one that is there for the same wishes, or a new one.

        image: a path, or an object with one as its attribute `image` (a BuiltImage). kernel: of an image without a
        manifest, which does not say for which it is.
        Raises InputError for an image that cannot be tested in, GuestError for a guest that panics or does not settle.
        """
        path = _path_of(image)
        key = (path, machine, wish, accel)
        there = self._guests.get(key)
        if there is not None and there.vm.running:
            return there
        _require_agent(path)
        guest = self._boot(path, machine, wish, accel, _kernel_for(path, kernel))
        self._guests[key] = guest
        return guest

    def give_back(self, guest: Guest) -> None:
        """Undo a test's plugs, so that the next test finds the guest as it was; end it if that cannot be done."""
        if guest.vm.running and not guest.spoilt:
            guest.undo()
        if not guest.vm.running:
            guest.spoilt = guest.spoilt or "it has ended"
        if not guest.spoilt:
            try:
                guest.settle()
            except GuestError as e:
                guest.spoilt = str(e)
        if guest.spoilt:
            self._guests = {key: one for key, one in self._guests.items() if one is not guest}
            self._running.pop(id(guest)).close()

    def _boot(self, image: Path, machine: Machine, wish: GuestWish, accel: str, kernel: str | None) -> Guest:
        session = prepare(
            image,
            machine,
            kernel=kernel,
            append=wish.append,
            memory=wish.memory,
            accel=accel,
            agent=True,
            limit_s=wish.limit_s,
        )
        with contextlib.ExitStack() as stack:
            vm = stack.enter_context(session.vm())
            vm.settled(timeout=min(_SETTLE_S, wish.limit_s))
            vm.take_port()
            guest = Guest(vm)
            self._running[id(guest)] = stack.pop_all()
        return guest


def _path_of(image: object) -> Path:
    given = getattr(image, "image", image)
    if not isinstance(given, str | os.PathLike):
        raise InputError(f"the fixture image gives {image!r}, not the path of an image")
    return Path(given)


def _kernel_for(image: Path, kernel: str | None) -> str | None:
    if manifest_path(image).exists():
        return None
    if kernel is None:
        raise InputError(
            f"{image} does not say which kernel it is for: it has no manifest", hint="--guest-kernel VMLINUZ"
        )
    return kernel


def _require_agent(image: Path) -> None:
    """Refuse an image that no test could talk to, before it is booted for minutes."""
    require_there(image, "image")
    manifest = read_manifest(image) if manifest_path(image).exists() else {}
    files = {str(one["path"]) for one in manifest.get("files", ()) if isinstance(one, dict) and "path" in one}
    if not files:
        files = {
            member.name.removeprefix("./") for segment in read_image(image) for member in segment.members
        }
    for path, what in _NEEDED.items():
        if path not in files:
            raise InputError(
                f"{image} is not an image for tests: it has no /{path}, {what}",
                hint="hostbuild make-image builds one; leave the fixture image alone to have one built for the test",
            )
