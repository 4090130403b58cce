"""The serial lines' reader (hostbuild/qemu/lines.py) with a guest that is a socket."""

import threading

from hostbuild.errors import WorldError
from hostbuild.qemu.lines import Line, SerialLines


def test_a_listener_that_fails_ends_the_machine_and_not_the_reader() -> None:
    """What a listener raises is kept for whoever waits; the machine is ended once, the lines are read to their end."""
    heard: list[bytes] = []
    error = WorldError("cannot write to standard output: No space left on device")

    def show(data: bytes) -> None:
        heard.append(data)
        raise error

    lines = SerialLines({Line.CONSOLE: show})
    guest = {line: end.dup() for line, end in lines.theirs.items()}
    failed = threading.Event()
    failures: list[None] = []

    def kill() -> None:
        failures.append(None)
        failed.set()

    lines.start(limit_s=60, on_limit=lambda: None, on_failure=kill, on_end=lambda: None)
    try:
        guest[Line.CONSOLE].sendall(b"Linux version 6.1\n")
        assert failed.wait(10)
        guest[Line.CONSOLE].sendall(b"more\n")
        guest[Line.CHANNEL].sendall(b'{"type":"exit","status":0}\n')
        for end in guest.values():
            end.close()
        assert lines.wait(lambda: lines.ended, 10)
    finally:
        lines.close()
    assert lines.failure is error
    assert (len(heard), len(failures)) == (1, 1)
    assert lines.console == "Linux version 6.1\nmore\n"
