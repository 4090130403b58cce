"""The way to an agent: frames go out in order, by a thread of their own, never more than the other side can hold."""

import contextlib
import threading
from collections import deque
from collections.abc import Callable

from microagent.frames import Frame, encode

_PIECE = 4096


class Wire:
    """Writes frames without keeping anybody waiting.

    window: bytes that may be under way before the other side says that it has them; None: any number.
    """

    def __init__(self, write: Callable[[bytes], None], window: int | None) -> None:
        self._write = write
        self._window = window
        self._waiting: deque[bytes] = deque()
        self._under_way = 0
        self._closed = False
        self._news = threading.Condition()
        self._begun = False

    def send(self, frame: Frame) -> None:
        """Have a frame written, after those before it."""
        data = encode(frame)
        with self._news:
            if not self._begun:
                self._begun = True
                threading.Thread(target=self._run, name="agent's line", daemon=True).start()
            self._waiting.extend(data[at : at + _PIECE] for at in range(0, len(data), _PIECE))
            self._news.notify_all()

    def received(self, count: int) -> None:
        """Note that the other side has received so many bytes."""
        with self._news:
            self._under_way = max(0, self._under_way - count)
            self._news.notify_all()

    def reset(self) -> None:
        """Forget what is under way and what waits: there is another one at the other end."""
        with self._news:
            self._under_way = 0
            self._waiting.clear()

    def close(self) -> None:
        """Write nothing more. A write that does not come to an end is not waited for."""
        with self._news:
            self._closed = True
            self._news.notify_all()

    def flush(self, timeout: float) -> None:
        """Wait until everything has been written, for so many seconds at most."""
        with self._news:
            self._news.wait_for(lambda: not self._waiting or self._closed, timeout)

    def _run(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: self._closed or self._can_write())
                if self._closed:
                    return
                piece = self._waiting[0]
                self._under_way += len(piece)
            with contextlib.suppress(OSError, ValueError):  # nobody is there any more, of which others hear
                self._write(piece)
            with self._news:
                if self._waiting and self._waiting[0] is piece:
                    self._waiting.popleft()
                self._news.notify_all()

    def _can_write(self) -> bool:
        if not self._waiting:
            return False
        return self._window is None or self._under_way + len(self._waiting[0]) <= self._window
