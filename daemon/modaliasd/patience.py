"""Asks a daemon that may be between two lives: init starts it again, and its socket comes a moment later.

A daemon that goes on failing is started again later and later (failure.py); its mark says when, and why it failed.
"""

from __future__ import annotations

import posix
import sys
from time import monotonic, sleep

from modaliasd.core.errors import WorldError
from modaliasd.core.printable import printable
from modaliasd.failure import next_start
from modaliasd.linux.control import NoDaemonError, ask
from modaliasd.linux.paths import CONTROL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

ANSWER_MARGIN = 5.0  # seconds that the daemon may take beyond the time it was given
RESTART_LIMIT = 10.0  # seconds that a daemon is given to come up once it is started
MOST_FAILURES = 3  # that are waited for without a time limit
_RETRY_AFTER = 0.05


def ask_patiently(command: str, words: Callable[[float | None], list[str]], timeout: float | None) -> str:
    """Ask, and wait for a daemon that is being started or started again; return the answer.

    words: the request, given the seconds that are left of `timeout`, which counts from the first attempt; None: no
    limit. NoDaemonError where none comes; WorldError where it fails again and again.
    """
    last = float("inf") if timeout is None else monotonic() + timeout
    end = min(last, monotonic() + RESTART_LIMIT)
    first = told = 0
    while True:
        asked = monotonic()
        left = None if timeout is None else max(last - asked, _RETRY_AFTER)
        try:
            return ask(CONTROL, words(left), None if left is None else left + ANSWER_MARGIN)
        except NoDaemonError as e:
            error = e
        # whoever is not root is turned away by a daemon that is well: asking again is no use
        if posix.geteuid() != 0:
            raise error
        now = monotonic()
        if now - asked > 1:  # it was there, and died over the request
            end = min(last, now + RESTART_LIMIT)
        count, in_s, reason = next_start()
        if count and in_s > -RESTART_LIMIT:
            first = first or count
            if timeout is None and count - first >= MOST_FAILURES:
                raise WorldError(f"{command}: the daemon fails again and again: {reason}")
            end = min(last, max(end, now + in_s + RESTART_LIMIT))
            if count != told:
                told = count
                when = f"in {in_s:.0f} s" if in_s >= 1 else "now"
                _say(
                    f"{command}: the daemon failed ({reason}); waiting for the next one, which starts {when}"
                )
        if now >= end:
            raise NoDaemonError(f"{error}; the last one failed: {reason}") if told else error
        sleep(_RETRY_AFTER)


def _say(text: str) -> None:
    sys.stderr.write(f"modaliasd {printable(text)}\n")
    sys.stderr.flush()
