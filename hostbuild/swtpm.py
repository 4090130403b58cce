"""Software TPMs (swtpm(8)): each a TPM 2.0 that is new with its machine, and listens on a socket for QEMU."""

import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from hostbuild.errors import WorldError
from hostbuild.fs.sockets import is_listening
from hostbuild.run import require_program, spawn

_START_S = 10.0
_LOOK_S = 0.02


@contextmanager
def swtpms(sockets: Iterable[Path]) -> Iterator[None]:
    """Start one on each socket; they end with the context, or when QEMU lets go of the socket.

    What they keep lies beside their socket. Raises ToolMissingError where swtpm is not installed, WorldError where one
    does not start.
    """
    with ExitStack() as stack:
        for path in sockets:
            stack.enter_context(_swtpm(path))
        yield


@contextmanager
def _swtpm(path: Path) -> Iterator[None]:
    require_program("swtpm")
    state, log = path.with_suffix(".state"), path.with_suffix(".log")
    state.mkdir()
    # As QEMU itself: should we be killed outright, the kernel ends it (prctl(2), PR_SET_PDEATHSIG).
    argv = ["setpriv", "--pdeathsig", "KILL", "--", "swtpm", "socket", "--tpm2", "--terminate"]
    argv += ["--tpmstate", f"dir={state}", "--ctrl", f"type=unixio,path={path}"]
    with log.open("wb") as said:
        process = spawn(argv, stdout=said, stderr=said, new_session=True)
    try:
        deadline = time.monotonic() + _START_S
        while not is_listening(path):
            if process.poll() is not None or time.monotonic() > deadline:
                words = log.read_text("utf-8", "replace").strip()
                raise WorldError(f"swtpm did not start: {words or 'it said nothing'}")
            time.sleep(_LOOK_S)
        yield
    finally:
        process.kill()
        process.wait()
