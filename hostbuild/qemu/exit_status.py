"""How a machine's life ended, judged from what was seen of it: the exit status, or the error that tells why.

The guest's own word counts most (the ledger's `exit` record), then QEMU's (the reason in its SHUTDOWN event,
qapi/run-state.json), then the console's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from hostbuild.errors import GuestError, GuestTimeoutError
from hostbuild.ledger.stream import Record
from hostbuild.qemu.transcript import clean, diagnose, panicked, restarted_on_purpose

# Warnings of the ledger that a failing status may stem from (docs/ledger.md).
_FAULTS = frozenset({"modules", "policy", "settled.d"})
_PROMPT = frozenset({"start", "settled", "exit"})  # records that are sent as soon as they are written
_CLOCK_MARGIN_S = 2.0  # a busy host may hear of a record so much later
_CLOCK_TOLERANCE = 1.5
_LATEST_US = 1 << 63  # the kernel's own limit of a time


@dataclass(frozen=True, slots=True)
class Ending:
    """What was seen of a machine that has ended.

    reason: QEMU's: guest-shutdown, guest-reset, ...; "" where it named none.
    over_limit_s: the time limit in seconds at which it was ended, None if it ended by itself.
    last_words: QEMU's stderr, or its exit status in words.
    """

    console: str
    ledger: Sequence[Record]
    reason: str
    over_limit_s: float | None
    last_words: str


def complaints(ledger: Sequence[Record]) -> list[str]:
    """Return what the guest found so wrong that its exit status says so: its warnings, a sentence each."""
    found = []
    for record in ledger:
        if record["type"] == "root" and record.get("outcome") == "lost":
            words = f"the root file system is not there: {record.get('message', '')}"
            found.append(_one_line(f"{words} fix: {record['fix']}" if record.get("fix") else words))
        if record["type"] == "warning" and record.get("what") in _FAULTS:
            place = ":".join(str(record[key]) for key in ("path", "line") if key in record)
            text = ": ".join(filter(None, (place, str(record.get("message", "")))))
            found.append(_one_line(text))
    return found


def _one_line(text: str) -> str:
    """Return the guest's words for a terminal: no control characters, and nothing that cannot be encoded."""
    return " ".join(clean(text.encode("utf-8", "backslashreplace")).split())


def _root_status(ledger: Sequence[Record]) -> int:
    """Return the status of a guest that ended without one of its own: 111 if its root file system was lost."""
    last = next((record for record in reversed(ledger) if record["type"] == "root"), None)
    return 111 if last is not None and last.get("outcome") == "lost" else 0


def exit_status(ledger: Sequence[Record]) -> int | None:
    """Return the status that the guest gave itself, 0 to 255; None if it did not say one."""
    for record in ledger:
        status = record.get("status")
        if record["type"] == "exit" and isinstance(status, int) and 0 <= status <= 255:
            return int(status)
    return None


def clock_rate(ledger: Sequence[Record], arrivals: Sequence[float]) -> float | None:
    """Return how many seconds the guest counted in one of the host's, where that is too far from 1 to be chance.

    A kernel finds the TSC's rate early in its boot by a few milliseconds of another clock. A guest that gets no time
    in just these finds a wrong rate, and all that it measures is wrong then.
    arrivals: when the records came, in the host's seconds. None: right, or too short a life to tell.
    """
    times = [
        (record["t_us"] / 1e6, arrived)
        for record, arrived in zip(ledger, arrivals, strict=False)
        if record["type"] in _PROMPT
        and isinstance(t_us := record.get("t_us"), int)
        and 0 <= t_us < _LATEST_US
    ]
    if not times:
        return None
    guest, host = (last - first for first, last in zip(times[0], times[-1], strict=True))
    if min(guest, host) < 0 or abs(guest - host) < _CLOCK_MARGIN_S:
        return None
    rate = guest / max(host, 1e-3)
    return None if 1 / _CLOCK_TOLERANCE < rate < _CLOCK_TOLERANCE else rate


def judge(ending: Ending) -> int:
    """Return the guest's exit status; 0 where it switched itself off (or restarted on purpose) without one.

    Raises GuestError for a panic or a guest that vanished, GuestTimeoutError for one that had to be ended.
    """
    status = exit_status(ending.ledger)
    if status is not None:
        return status
    console = ending.console
    if ending.reason == "guest-shutdown":
        return _root_status(ending.ledger)
    if ending.reason == "guest-reset" and restarted_on_purpose(console):
        return 0
    found = diagnose(console)
    why = f"{found.reason} ({found.line})" if found else ""
    fix = found.fix if found else ""
    if found and (ending.reason == "guest-reset" or panicked(console)):
        raise GuestError(why, console=console, hint=fix)
    if ending.over_limit_s is not None:
        message = f"the guest was still running after {ending.over_limit_s:g} s and was ended"
        raise GuestTimeoutError(
            f"{message}: {why}" if why else message,
            console=console,
            hint=fix or "give it more time (--timeout)",
        )
    if ending.reason == "guest-reset":
        raise GuestError("the guest reset itself without saying why", console=console)
    raise GuestError(f"QEMU ended under the guest: {ending.last_words}", console=console)
