"""Software TPMs (swtpm(8)): each a TPM 2.0 that is new with its machine, and listens on a socket for QEMU."""

import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from hostbuild.beside.process import beside
from hostbuild.errors import WorldError
from hostbuild.fs.sockets import is_listening

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
    state = path.with_suffix(".state")
    argv = ["swtpm", "socket", "--tpm2", "--terminate"]
    argv += ["--tpmstate", f"dir={state}", "--ctrl", f"type=unixio,path={path}"]
    state.mkdir(exist_ok=True)
    with beside(argv, path.with_suffix(".log")) as swtpm:
        deadline = time.monotonic() + _START_S
        while not is_listening(path):
            if swtpm.ended or time.monotonic() > deadline:
                raise WorldError(f"swtpm did not start: {swtpm.words}")
            time.sleep(_LOOK_S)
        yield
