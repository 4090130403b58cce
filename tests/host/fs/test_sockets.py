"""hostbuild.fs.sockets: a socket that is bound is not yet one that takes connections."""

import socket
from pathlib import Path

from hostbuild.fs.scratch import scratch_directory
from hostbuild.fs.sockets import is_listening


def test_it_is_listened_on_after_listen() -> None:
    """Neither nothing, nor a bound name, nor a socket that was closed; only between listen and close."""
    with scratch_directory() as directory:  # a short path, as sockets need one
        path = directory / "with a space.sock"
        assert not is_listening(path)
        with socket.socket(socket.AF_UNIX) as line:
            line.bind(str(path))
            assert path.is_socket()
            assert not is_listening(path)
            line.listen()
            assert is_listening(path)
            assert not is_listening(Path(f"{path}.other"))
        assert path.is_socket()
        assert not is_listening(path)
