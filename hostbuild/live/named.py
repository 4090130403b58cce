"""A guest that others can reach by its name while whoever booted it looks on: `hostbuild run IMAGE --name NAME`.

The process that has the guest keeps it as a detached one's does (live/keeper.py), from the first settle on, and records
its console and its ledger in its place (live/names.py).
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hostbuild import ui
from hostbuild.errors import GuestError, GuestTimeoutError, HostbuildError
from hostbuild.live.keeper import BoundedLog, Keeper
from hostbuild.live.names import Place, claim
from hostbuild.live.ready import SETTLE_S
from hostbuild.qemu.exit_status import exit_status
from hostbuild.qemu.lines import Line, Listener
from hostbuild.qemu.session import Session
from hostbuild.qemu.vm import VM


@contextmanager
def booted(session: Session, name: str | None, listeners: Mapping[Line, Listener]) -> Iterator[VM]:
    """Boot a guest; where it has a name, others reach it by that as long as the context lasts.

    Raises UsageError where one of that name is running, and whatever the machine's start does.
    """
    if not name:
        with session.vm(listeners=dict(listeners)) as vm:
            yield vm
        return
    with claim(name) as place:
        place.write("guest", about(session))
        recorded = recording(place)
        both = {line: _both(hear, listeners.get(line)) for line, hear in recorded.items()}
        try:
            with session.vm(listeners=both) as vm, _kept(vm, place):
                yield vm
        except HostbuildError as e:
            place.write("ended", {"status": e.exit_status, "message": str(e.args[0])})
            raise
        except BaseException:
            place.write("ended", {"message": "whoever ran it was interrupted"})
            raise
        status = exit_status(vm.ledger)
        ended = "whoever ran it ended it" if status is None else f"it was switched off, with status {status}"
        place.write("ended", {"status": status, "message": ended})


def about(session: Session) -> dict[str, Any]:
    """Return what a guest's place says of it from the beginning (guest.json)."""
    return {
        "image": str(session.boot.initrd.resolve()),
        "machine": session.machine.name,
        "since": time.time(),
        "shares": [[str(share.directory), share.place, share.read_only] for share in session.boot.shares],
    }


def recording(place: Place) -> dict[Line, Listener]:
    """Return what writes a guest's console and ledger into its place."""
    console, ledger = BoundedLog(place.console), BoundedLog(place.ledger, most=1 << 40)
    return {Line.CONSOLE: console.write, Line.CHANNEL: ledger.write}


def keep(vm: VM, place: Place) -> Keeper:
    """Serve whoever asks for a guest that is ready by its name."""
    place.write("guest", place.read("guest") | {"pid": os.getpid(), "qemu": vm.pid})
    return Keeper(vm, place)


@contextmanager
def _kept(vm: VM, place: Place) -> Iterator[None]:
    """Begin to serve once the guest has settled, in a thread: nobody here waits for it."""
    keepers: list[Keeper] = []
    over = threading.Event()

    def begin() -> None:
        try:
            _wait_ready(vm)
        except GuestError:  # it has ended, or has no agent: who runs it is told
            return
        if over.is_set():
            return
        try:
            keepers.append(keep(vm, place))
        except (HostbuildError, OSError) as e:  # the guest itself is well
            ui.note(f"nobody can reach this guest by its name, {place.name}: {e}")

    thread = threading.Thread(target=begin, name="keeper", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(1.0)  # no longer: it may still wait for the guest, whose end follows
        for keeper in keepers:
            keeper.close()


def _wait_ready(vm: VM) -> None:
    while True:
        try:
            vm.settled(timeout=SETTLE_S)
            break
        except GuestTimeoutError:  # somebody may have it wait, as with `single`
            continue
    vm.agent(timeout=SETTLE_S)
    vm.take_port()


def _both(one: Callable[[bytes], None], other: Callable[[bytes], None] | None) -> Listener:
    if other is None:
        return one
    second = other

    def hear(data: bytes) -> None:
        one(data)
        second(data)

    return hear
