"""A virtio port in the place of the agent's serial line: asked for over the line, once the guest may have its driver.

A serial line is emulated byte by byte; a port takes pages. The line stays, for guests without the driver, before it
comes, and after it has gone.
"""

import os
import time
from errno import ENODEV, ENOENT
from queue import Empty, SimpleQueue

from hostbuild.guest.agent import Agent
from hostbuild.log import debug
from microagent import PORT
from microagent.frames import Frame, Kind
from microagent.messages import MessageError, Stage, parse_refused

_SINCE_PROTOCOL = 2
_ANSWER_S = 5.0
_COMES_S = 2.0  # how long a port may take to follow its driver
_AGAIN_S = 0.1
_NOT_YET = "the guest has no such port"


def serve_port(line: Agent, port: Agent) -> bool:
    """Have the agent on a serial line serve the port as well; return whether it does.

    Where it does not, that takes a few seconds at most. Should it end, `port` is told.
    """
    if line.protocol < _SINCE_PROTOCOL:
        return False
    deadline = time.monotonic() + _COMES_S
    while (refused := _ask(line, port)) == _NOT_YET and time.monotonic() < deadline:
        time.sleep(_AGAIN_S)
    if refused:
        debug("guest", f"commands stay on the serial line: {refused}")
        return False
    return port.wait_ready(_ANSWER_S)


def _ask(line: Agent, port: Agent) -> str:
    """Ask once; return why it is not served, "" where it is."""
    answers: SimpleQueue[str] = SimpleQueue()

    def hear(frame: Frame) -> None:
        if frame.kind is Kind.EXIT:
            port.end("the guest's agent on the virtio port has ended")
        else:
            answers.put("" if frame.kind is Kind.STARTED else _reason(frame.payload))

    def lose(reason: str) -> None:
        answers.put(reason)
        port.end(reason)

    number = line.open(hear, lose)
    line.send(Frame(Kind.SERVE, number, PORT.encode()))
    try:
        return answers.get(timeout=_ANSWER_S)
    except Empty:
        return "the agent does not answer"


def _reason(payload: bytes) -> str:
    try:
        refused = parse_refused(payload)
    except MessageError as e:
        return str(e)
    if refused.stage is Stage.PORT and refused.errno == ENOENT:
        return _NOT_YET
    if refused.stage is Stage.PORT and refused.errno == ENODEV:
        return "the guest has no driver for virtio ports (virtio_console)"
    return os.strerror(refused.errno)
