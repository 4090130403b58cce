"""hostbuild.beside.swtpm: a software TPM that is there while its machine is, and whose failures are in words."""

import socket
from pathlib import Path

import pytest

from hostbuild.beside.swtpm import swtpms
from hostbuild.errors import ToolMissingError, WorldError
from hostbuild.fs.scratch import scratch_directory
from hostbuild.qemu.device import parse_device
from hostbuild.qemu.machine import Machine
from hostbuild.qemu.outside import with_tpms


def test_it_listens_and_ends() -> None:
    """Its socket takes connections inside the context, and nobody answers after it."""
    with scratch_directory() as directory:  # a short path, as sockets need one
        path = directory / "tpm.sock"
        with swtpms([path]), socket.socket(socket.AF_UNIX) as line:
            line.connect(str(path))
        with socket.socket(socket.AF_UNIX) as line, pytest.raises(OSError, match=r"refused|No such file"):
            line.connect(str(path))


def test_it_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package is named."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissingError) as caught, swtpms([tmp_path / "tpm.sock"]):
        pass
    assert "install --no-install-recommends swtpm" in caught.value.hint


def test_it_cannot_listen(tmp_path: Path) -> None:
    """swtpm's own words are in the message: this path is longer than a socket's may be (unix(7))."""
    path = tmp_path / f"{'x' * 100}.sock"
    with pytest.raises(WorldError, match=r"swtpm did not start: .*long"), swtpms([path]):
        pass


def test_only_a_tpm_without_a_backend_gets_one() -> None:
    """Another one's backend, and all other devices, stay as they are; a comma in the path is QEMU's double one."""
    own = Machine(devices=(parse_device("tpm-tis,tpmdev=mine"), parse_device("e1000")))
    assert with_tpms(own, Path("/x")) == (own, ())
    machine, sockets = with_tpms(Machine(devices=(parse_device("tpm"),)), Path("/a,b"))
    assert sockets == (Path("/a,b/swtpm0.sock"),)
    assert ("-chardev", "socket,id=swtpm0-line,path=/a,,b/swtpm0.sock") in machine.raw
    assert machine.devices[0].get("tpmdev") == "swtpm0"
