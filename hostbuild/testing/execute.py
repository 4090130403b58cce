"""A command run in a guest: its status, what it wrote on stdout, what it wrote on stderr.

The one place that knows how: by the guest's agent, whose answers are one stream (VM.sh). The command writes to two
files, and their sizes and contents come back together.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from hostbuild.errors import GuestError
from hostbuild.qemu.vm import VM

# The command stands in a subshell, so that its `exit` ends nothing but itself. wc and cat are busybox's.
_SCRIPT = """d=$(mktemp -d /run/command.XXXXXX) || exit 125
( {command} ) >"$d/out" 2>"$d/err"
echo $? $(wc -c <"$d/out") $(wc -c <"$d/err")
cat "$d/out" "$d/err"
rm -rf "$d"
"""


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
    line = command if isinstance(command, str) else shlex.join(command)
    # A newline after it: a line may end with a comment.
    answer = vm.sh(_SCRIPT.format(command=f"{line}\n"), timeout=timeout).output
    head, _, rest = answer.partition("\n")
    numbers = head.split()
    if len(numbers) != 3 or not all(number.isdigit() for number in numbers):
        raise GuestError(f"the guest cannot run {line!r}: {answer.strip() or 'no answer'}")
    status, size = int(numbers[0]), int(numbers[1])
    data = rest.encode("utf-8", "surrogateescape")
    out, err = (part.decode("utf-8", "surrogateescape") for part in (data[:size], data[size:]))
    return Completed(line, status, out, err)
