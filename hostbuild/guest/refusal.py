"""Why a guest did not start a command, in words and as the status that a shell would have. Pure."""

import errno
import os
from dataclasses import dataclass

from microagent.messages import Refused, Stage, Start

NOT_FOUND, NOT_EXECUTABLE = 127, 126


@dataclass(frozen=True, slots=True)
class Refusal:
    """A command that was not started."""

    status: int
    message: str
    hint: str = ""


def explain(refused: Refused, start: Start) -> Refusal:
    """Put a refusal into words."""
    program = start.argv[0].decode("utf-8", "backslashreplace")
    why = os.strerror(refused.errno)
    if refused.stage is Stage.DIRECTORY:
        where = start.directory.decode("utf-8", "backslashreplace")
        return Refusal(
            NOT_EXECUTABLE,
            f"cannot run {program} in {where}: {why} (in the guest)",
            "--share makes a folder of this machine's one of the guest's",
        )
    if refused.stage is Stage.PROGRAM and refused.errno in (errno.ENOENT, errno.ENOTDIR):
        if "/" in program:
            return Refusal(
                NOT_FOUND,
                f"the guest has no {program}, or not the interpreter or loader that it names",
                "make-image --overlay brings files, --share a folder of this machine's",
            )
        return Refusal(
            NOT_FOUND,
            f"the guest has no program {program} in its PATH",
            "make-image --overlay brings it; a shell's line is: sh -c 'LINE'",
        )
    if refused.stage is Stage.PROGRAM:
        return Refusal(NOT_EXECUTABLE, f"the guest cannot run {program}: {why}")
    if refused.stage is Stage.REQUEST and refused.errno == errno.EAGAIN:
        return Refusal(NOT_EXECUTABLE, f"the guest runs too many commands to start {program}")
    if refused.stage is Stage.PROCESS and start.size is not None:
        return Refusal(
            NOT_EXECUTABLE,
            f"the guest has no terminal for {program}: {why}",
            "its kernel needs CONFIG_UNIX98_PTYS, and devpts at /dev/pts",
        )
    return Refusal(NOT_EXECUTABLE, f"the guest could not start {program}: {why}")
