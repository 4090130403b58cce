"""QEMU's monitor, spoken to synchronously: commands, events, and devices plugged and unplugged.

qemu.qmp is asyncio; its loop runs in a thread of this object, so that events are heard while nobody asks and
callers stay plain functions. The protocol is QEMU's docs/interop/qmp-spec, its words stand in qapi/*.json.
"""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

from qemu.qmp import EventListener, ExecuteError, Message, QMPClient, QMPError, Runstate

from hostbuild.errors import GuestError, GuestTimeoutError, WorldError
from hostbuild.log import debug

_T = TypeVar("_T")

COMMAND_LIMIT_S = 30.0  # QEMU answers in milliseconds, unless the host is busy or QEMU is going


class CommandRefusedError(GuestError):
    """QEMU refused a command; the message is QEMU's own."""


class Monitor:
    """A connection to QEMU's monitor over a connected socket, which it takes over.

    events: everything QEMU reported so far, in order, as QMP has it ({"event": ..., "data": ...}).
    """

    def __init__(self, sock: socket.socket, *, timeout: float = COMMAND_LIMIT_S) -> None:
        self.events: list[Message] = []
        self._heard = threading.Condition()
        self._gone = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="qmp", daemon=True)
        self._thread.start()
        self._client = QMPClient("hostbuild")
        self._client.logger.disabled = True  # a QEMU that ends is no news: whoever waits for it is told
        self._listener = EventListener()
        self._client.register_listener(self._listener)
        try:
            self._do(self._client.connect(sock), timeout)
        except (QMPError, OSError, EOFError, TimeoutError) as e:
            self.close()
            raise WorldError(f"QEMU's monitor does not answer: {e or type(e).__name__}") from e
        self._listening = asyncio.run_coroutine_threadsafe(self._listen(), self._loop)

    def execute(self, command: str, arguments: Mapping[str, object] | None = None) -> object:
        """Run a command and return its result.

        Raises CommandRefusedError with QEMU's words, GuestError if QEMU is gone.
        """
        debug("qmp", f"{command} {dict(arguments or {})}")
        try:
            return self._do(self._client.execute(command, arguments), COMMAND_LIMIT_S)
        except ExecuteError as e:
            raise CommandRefusedError(f"QEMU refused {command}: {e}") from e
        except TimeoutError as e:
            raise GuestTimeoutError(f"QEMU did not answer {command} within {COMMAND_LIMIT_S:g} s") from e
        except (QMPError, OSError, EOFError) as e:
            raise GuestError(f"QEMU ended before it answered {command}: {e or type(e).__name__}") from e

    def wait_event(
        self, wanted: Callable[[Message], bool], *, timeout: float, since: int = 0
    ) -> Message | None:
        """Return the first event wanted from `events[since]` on; None at the time limit or QEMU's end."""
        deadline = time.monotonic() + timeout
        with self._heard:
            while True:
                for event in self.events[since:]:
                    if wanted(event):
                        return event
                since = len(self.events)
                left = deadline - time.monotonic()
                if self._gone or left <= 0:
                    return None
                self._heard.wait(left)

    def device_add(self, driver: str, device_id: str, properties: Mapping[str, object]) -> None:
        """Plug a device in. Raises CommandRefusedError."""
        self.execute("device_add", {"driver": driver, "id": device_id, **properties})

    def device_del(self, device_id: str, *, timeout: float) -> None:
        """Ask the guest to let a device go and wait until it has (DEVICE_DELETED).

        Raises GuestTimeoutError if it does not within `timeout` seconds, GuestError if it declines.
        """
        since = len(self.events)

        def over(event: Message) -> bool:
            data = event.get("data")
            if event.get("event") not in ("DEVICE_DELETED", "DEVICE_UNPLUG_GUEST_ERROR"):
                return False
            return isinstance(data, dict) and data.get("device") == device_id

        self.execute("device_del", {"id": device_id})
        event = self.wait_event(over, timeout=timeout, since=since)
        if event is None:
            raise GuestTimeoutError(f"the guest did not release the device {device_id} within {timeout:g} s")
        if event["event"] != "DEVICE_DELETED":
            raise GuestError(f"the guest refused to release the device {device_id}")

    def shutdown_reason(self) -> str:
        """Return why QEMU ended, in its own words: guest-shutdown, guest-reset, ...; "" if it did not say."""
        for event in self.events:
            data = event.get("data")
            if event.get("event") == "SHUTDOWN" and isinstance(data, dict):
                return str(data.get("reason", ""))
        return ""

    def drain(self, timeout: float = 2.0) -> None:
        """Wait until QEMU has closed the connection, so that its last events are in `events`."""
        with self._heard:
            self._heard.wait_for(lambda: self._gone, timeout)

    def close(self) -> None:
        """End the connection and its thread. May be called again."""
        if self._loop.is_closed():
            return
        with contextlib.suppress(QMPError, OSError, EOFError, TimeoutError):
            self._do(self._client.disconnect(), 2.0)
        with contextlib.suppress(TimeoutError):
            self._do(_cancel_all(), 2.0)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5.0)
        if not self._thread.is_alive():
            self._loop.close()
        self._end()

    async def _listen(self) -> None:
        """Keep the events, and notice the connection's end."""
        while self._client.runstate is Runstate.RUNNING:
            getting = asyncio.ensure_future(self._listener.get())
            changing = asyncio.ensure_future(self._client.runstate_changed())
            done, pending = await asyncio.wait({getting, changing}, return_when=asyncio.FIRST_COMPLETED)
            for task in pending:
                task.cancel()
            if getting in done:
                self._keep([getting.result()])
        self._keep(self._listener.clear())
        self._end()

    def _end(self) -> None:
        with self._heard:
            self._gone = True
            self._heard.notify_all()

    def _keep(self, events: list[Message]) -> None:
        for event in events:
            debug("qmp event", f"{event.get('event')} {event.get('data', '')}")
        with self._heard:
            self.events.extend(events)
            self._heard.notify_all()

    def _do(self, work: Coroutine[Any, Any, _T], timeout: float) -> _T:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(timeout)
        except BaseException:
            future.cancel()
            raise


async def _cancel_all() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
