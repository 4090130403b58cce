"""Signals that end a command: each becomes an exception in the main thread, and none is lost on its way.

A signal is handled wherever the main thread happens to be. In a `__del__`, a weak reference's callback or another
place whose exceptions the interpreter only prints (sys.unraisablehook), the exception would be dropped, and the command
would go on as if nobody had pressed Ctrl-C. There it is sent again, a moment later.
"""

import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

_ENDING = (signal.SIGTERM, signal.SIGHUP)
_AGAIN_S = 0.02  # the place that dropped it has been left by then; if not, it is dropped and sent once more


def guard() -> None:
    """Have SIGTERM and SIGHUP end the process as an error does; called once, at the start of the process."""
    for number in _ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup(1) wants it
            signal.signal(number, _end)
    sys.unraisablehook = _unraisable


def status_by(number: int) -> int:
    """Return the exit status of what a signal ended, as a shell counts."""
    return 128 + number


def _end(number: int, _frame: object) -> NoReturn:
    """End as on an error, so that what is half-written is removed; the clearing up is not interrupted."""
    signal.signal(number, signal.SIG_IGN)
    sys.exit(status_by(number))


def _unraisable(unraisable: "UnraisableHookArgs") -> None:
    number = _signal_behind(unraisable.exc_value)
    if number is None or threading.current_thread() is not threading.main_thread():
        sys.__unraisablehook__(unraisable)
        return
    if number in _ENDING and signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, _end)  # it would ignore the second
    threading.Thread(target=_send_again, args=(number, threading.get_ident()), daemon=True).start()


def _signal_behind(error: BaseException | None) -> int | None:
    """Return the number of the signal that was made into an exception."""
    if isinstance(error, KeyboardInterrupt):
        return signal.SIGINT
    if isinstance(error, SystemExit):
        return next((number for number in _ENDING if error.code == status_by(number)), None)
    return None


def _send_again(number: int, thread: int) -> None:
    time.sleep(_AGAIN_S)
    # To that thread itself: its waiting ends, too, and not only that of whoever the kernel would choose.
    signal.pthread_kill(thread, number)
