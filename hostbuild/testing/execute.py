"""A command run in a guest: its status, what it wrote on stdout, what it wrote on stderr."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from hostbuild.qemu.vm import VM


@dataclass(frozen=True, slots=True)
class Completed:
    """A command that ran in the guest. status: 0 to 255, 127 for one that is not there. Bytes that are not UTF-8 are
    kept as surrogates (PEP 383).
    """

    command: str
    status: int
    stdout: str
    stderr: str


def execute(vm: VM, command: str | Sequence[str], *, timeout: float) -> Completed:
    """Run a command in the guest and wait for its end.

    command: a line for the guest's shell, or an argument list. timeout: seconds.
    Raises GuestTimeoutError for a command that does not end, GuestError for a guest that is lost or has no agent.
    """
    line, argv = (
        (command, ["sh", "-c", command]) if isinstance(command, str) else (shlex.join(command), command)
    )
    done = vm.run(argv, timeout=timeout)
    out, err = (part.decode("utf-8", "surrogateescape") for part in (done.stdout, done.stderr))
    return Completed(line, done.status, out, err)
