"""An sshd of the test's own, on a high port of loopback, with keys of its own, and an `ssh` that reaches it."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hostbuild.run import end_group, find_program, spawn

_CONFIG = """
Port {port}
ListenAddress 127.0.0.1
HostKey {directory}/host
PidFile none
AuthorizedKeysFile {directory}/user.pub
StrictModes no
UsePAM no
PasswordAuthentication no
"""
_CLIENT = """#!/bin/sh
exec {ssh} -F none -p {port} -i {directory}/user -o IdentitiesOnly=yes -o UserKnownHostsFile=/dev/null \\
    -o StrictHostKeyChecking=no -o LogLevel=ERROR "$@"
"""
_START_S = 30.0


@contextlib.contextmanager
def private_sshd(directory: Path) -> Iterator[Path]:
    """Start it; give the folder of the `ssh` that reaches it at 127.0.0.1. Skips where that is not to be had."""
    sshd, ssh, keygen = (find_program(name) for name in ("sshd", "ssh", "ssh-keygen"))
    if sshd is None or ssh is None or keygen is None:
        pytest.skip("openssh-server, or openssh-client, is not installed")
    if os.geteuid() == 0 and not Path("/run/sshd").is_dir():
        pytest.skip("sshd has no /run/sshd, which Debian makes when its service is started")
    for name in ("host", "user"):
        argv = [keygen, "-q", "-t", "ed25519", "-N", "", "-f", str(directory / name)]
        subprocess.run(argv, check=True, timeout=60)
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    (directory / "sshd_config").write_text(_CONFIG.format(port=port, directory=directory))
    programs = directory / "bin"
    programs.mkdir()
    (programs / "ssh").write_text(_CLIENT.format(ssh=ssh, port=port, directory=directory))
    (programs / "ssh").chmod(0o755)
    with (directory / "sshd.log").open("wb") as log:
        process = spawn(
            [shutil.which(sshd) or sshd, "-D", "-e", "-f", directory / "sshd_config"],
            stdout=log,
            stderr=log,
            new_session=True,
        )
    try:
        limit = time.monotonic() + _START_S
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > limit:
                pytest.skip(f"sshd does not start: {(directory / 'sshd.log').read_text()[-300:]}")
            time.sleep(0.05)
        yield programs
    finally:
        end_group(process)


def _listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0
