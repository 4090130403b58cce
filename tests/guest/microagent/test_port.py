"""microagent.port: a virtio port found by its name, as drivers/char/virtio_console.c shows it."""

import errno
import os
from pathlib import Path

import pytest

from microagent.port import open_port


def test_a_port_is_found_by_its_name(tmp_path: Path) -> None:
    """Among others, and those without a name, which have no such attribute; without the driver it is ENODEV."""
    ports, nodes = tmp_path / "virtio-ports", tmp_path / "dev"
    nodes.mkdir()
    with pytest.raises(OSError, match="no driver") as without:
        open_port("wanted", str(ports), str(nodes))
    for port, name in (("vport0p0", None), ("vport0p1", "other"), ("vport1p1", "wanted")):
        (ports / port).mkdir(parents=True)
        if name:
            (ports / port / "name").write_text(f"{name}\n")
        (nodes / port).write_text(port)
    with pytest.raises(OSError, match="no such port") as absent:
        open_port("want", str(ports), str(nodes))
    assert (without.value.errno, absent.value.errno) == (errno.ENODEV, errno.ENOENT)
    found = open_port("wanted", str(ports), str(nodes))
    assert os.read(found, 100) == b"vport1p1"
    assert not os.get_blocking(found)
    os.close(found)
