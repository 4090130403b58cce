"""A guest that goes on in a process of its own: begun, and its life until it ends."""

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from hostbuild import ui
from hostbuild.errors import GuestError, HostbuildError, WorldError
from hostbuild.live.named import about, keep, recording
from hostbuild.live.names import Place, claim
from hostbuild.live.ready import make_ready
from hostbuild.live.requests import pack_answer, pack_error, parse_answer
from hostbuild.qemu.session import Session
from hostbuild.run import detach


@dataclass(frozen=True, slots=True)
class Begun:
    """A guest that is up. records: how many its ledger had when it was ready."""

    place: Place
    settled: dict[str, Any]


def begin(name: str, session: Session) -> Begun | None:
    """Boot a guest in a process of its own; return once it is ready. None in that process, once the guest has ended.

    Raises UsageError where one of that name is running, and whatever its boot does.
    """
    with claim(name) as place:
        place.write("guest", about(session))
        reading, writing = os.pipe2(os.O_CLOEXEC)
        with place.log.open("ab") as log:
            pid = detach(log)
        if pid == 0:
            os.close(reading)
            _keep(place, session, writing)
            return None
        os.close(writing)
    try:
        with ui.reporter().step(f"Booting {session.boot.initrd.name}"):
            told = _read_all(reading)
    except BaseException:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        place.wait_end(10.0)
        place.remove()
        raise
    finally:
        os.close(reading)
    if not told:
        place.wait_end(5.0)
        raise WorldError(f"the guest {name} could not be started: {_last_line(place)}")
    try:
        settled = parse_answer(told)
    except HostbuildError:
        place.wait_end(10.0)
        place.remove()
        raise
    return Begun(place, settled)


def _keep(place: Place, session: Session, told: int) -> None:
    """Be a guest's keeper until it ends; `told` is a pipe to who began it, for one answer."""
    waiting = True

    def tell(data: bytes) -> None:
        nonlocal waiting
        if waiting:
            waiting = False
            with suppress(OSError):
                os.write(told, data)
            os.close(told)

    try:
        place.write("ended", _life(place, session, tell))
    except HostbuildError as e:
        tell(pack_error(e))
        place.write("ended", {"status": e.exit_status, "message": str(e.args[0])})
        raise
    except SystemExit as e:
        place.write("ended", {"message": f"its keeper was ended by a signal (status {e.code})"})
        raise
    finally:
        tell(b"")


def _life(place: Place, session: Session, tell: Callable[[bytes], None]) -> dict[str, Any]:
    with session.vm(listeners=recording(place)) as vm:
        make_ready(vm)
        keeper = keep(vm, place)
        settled = next(record for record in vm.ledger if record["type"] == "settled")
        tell(pack_answer({key: settled.get(key) for key in ("devices", "matched", "loads", "failed")}))
        try:
            status = vm.wait(timeout=float("inf"))
        except GuestError:
            if not keeper.stopping:
                raise
            status = 0
        finally:
            keeper.close()
    return {"status": status, "message": f"it was switched off, with status {status}"}


def _read_all(fd: int) -> bytes:
    data = bytearray()
    while piece := os.read(fd, 65536):
        data += piece
    return bytes(data)


def _last_line(place: Place) -> str:
    try:
        lines = place.log.read_text("utf-8", "replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1] if lines else "it said nothing"
