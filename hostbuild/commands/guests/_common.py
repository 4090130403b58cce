"""What the commands about running guests share."""

from collections.abc import Sequence

from hostbuild.errors import GuestError
from hostbuild.guest.agent import ENDED
from hostbuild.guest.command import Lost, request
from hostbuild.guest.foreground import run_here
from hostbuild.guest.share import directory_in
from hostbuild.live.client import connected
from hostbuild.live.command import (
    current_directory,
    leaving,
    raw_if,
    shell_request,
    standard_input,
    status_of,
)


def run_in(name: str, words: Sequence[str], cwd: str | None = None, *, tty: bool = False) -> int:
    """Run a command in a running guest as if it ran here; return its status.

    tty: with this process's terminal, if it has one; no words: a shell. Raises GuestError where the guest ends.
    """
    with connected(name) as guest:
        where = directory_in(guest.shares(), current_directory()) if cwd is None else cwd
        if tty:
            start, stdin = shell_request(where, words)
        else:
            start, stdin = request(words, directory=where), standard_input()

        def work() -> int:
            with raw_if(start):
                outcome = run_here(guest.agent, start, stdin=stdin)
            if isinstance(outcome, Lost):
                if outcome.reason != ENDED:
                    raise GuestError(f"the command did not end: {outcome.reason}")
                raise guest.ended()
            return status_of(outcome)

        return leaving(work)
