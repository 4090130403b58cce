"""How a machine's life ended, judged from what was seen of it: the exit status, or the error that tells why.

The guest's own word counts most (the ledger's `exit` record), then QEMU's (the reason in its SHUTDOWN event,
qapi/run-state.json), then the console's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from hostbuild.errors import GuestError, GuestTimeoutError
from hostbuild.qemu.transcript import Record, diagnose, panicked, restarted_on_purpose


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


def verdict(ending: Ending) -> int:
    """Return the guest's exit status; 0 where it switched itself off (or restarted on purpose) without one.

    Raises GuestError for a panic or a guest that vanished, GuestTimeoutError for one that had to be ended.
    """
    for record in ending.ledger:
        status = record.get("status")
        if record["type"] == "exit" and isinstance(status, int):
            return status
    console = ending.console
    if ending.reason == "guest-shutdown":
        return 0
    if ending.reason == "guest-reset" and restarted_on_purpose(console):
        return 0
    found = diagnose(console)
    why = f"{found.reason} ({found.line})" if found else ""
    mend = found.mend if found else ""
    if found and (ending.reason == "guest-reset" or panicked(console)):
        raise GuestError(why, console=console, hint=mend)
    if ending.over_limit_s is not None:
        message = f"the guest was still running after {ending.over_limit_s:g} s and was ended"
        raise GuestTimeoutError(
            f"{message}: {why}" if why else message,
            console=console,
            hint=mend or "give it more time (--timeout)",
        )
    if ending.reason == "guest-reset":
        raise GuestError("the guest reset itself without saying why", console=console)
    raise GuestError(f"QEMU ended under the guest: {ending.last_words}", console=console)
