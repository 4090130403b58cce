"""The guest's agent run on this machine, over a socket in the place of the line, and the host's end of it."""

import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from hostbuild.guest.agent import Agent
from microagent.messages import LINE_WINDOW

DAEMON = Path(__file__).resolve().parents[2] / "daemon"


class Rig:
    """An agent's process, and the host's view of it."""

    def __init__(self, port: Path | None = None) -> None:
        """port: a terminal in the place of the virtio port."""
        ours, theirs = socket.socketpair()
        put = (
            f"agent.open_port = lambda name: os.open({str(port)!r}, os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY)"
        )
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-c", f"import os, sys; sys.path.insert(0, {str(DAEMON)!r})\n"
                 f"from microagent import agent; {put if port else ''}\nsys.exit(agent.main())"],
                stdin=theirs.fileno(), stdout=theirs.fileno(),
            )  # fmt: skip
        self.line = ours
        self.agent = Agent(ours.sendall, window=LINE_WINDOW)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while data := self.line.recv(65536):
                self.agent.feed(data)
        self.agent.end("the line has ended")

    def close(self) -> None:
        """End the line, and with it the agent."""
        with contextlib.suppress(OSError):
            self.line.shutdown(socket.SHUT_RDWR)
        try:
            self.process.wait(10)
        finally:
            self.process.kill()
            self.process.wait()
            self._reader.join(10)
            self.line.close()


@contextlib.contextmanager
def agent_rig(port: Path | None = None) -> Iterator[Rig]:
    """Run an agent, ready to be asked."""
    rig = Rig(port)
    try:
        assert rig.agent.wait_ready(20)
        yield rig
    finally:
        rig.close()
