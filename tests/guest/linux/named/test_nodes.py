"""linux/named/nodes.py: which nodes are made, of which kind and mode, and what is said of those that cannot be."""

import os
import stat
from pathlib import Path

import pytest

from modaliasd.linux.named.nodes import make_static_nodes

TEXT = """# Device nodes to trigger on-demand module loading.
loop loop-control c10:237
fuse fuse c10:229
tun net/tun c10:200
snd_timer snd/timer c116:33
floppy fd0 b2:0
"""


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[int, int]]:
    """Nodes by path, with mode and number: who is not root in the first namespace may not make any."""
    nodes: dict[str, tuple[int, int]] = {}

    def mknod(path: str, mode: int, device: int) -> None:
        if not os.path.isdir(os.path.dirname(path)):
            raise FileNotFoundError(2, "No such file or directory", path)
        if os.path.lexists(path) or path in nodes:
            raise FileExistsError(17, "File exists", path)
        nodes[path] = mode, device

    monkeypatch.setattr("posix.mknod", mknod)
    return nodes


def test_nodes(tmp_path: Path, made: dict[str, tuple[int, int]]) -> None:
    """Every line's node is made, directories with it; one that is there stays as it is."""
    (tmp_path / "modules.devname").write_text(TEXT)
    dev = tmp_path / "dev"
    dev.mkdir()
    (dev / "fuse").touch()
    assert make_static_nodes(str(tmp_path), str(dev)) == []
    seen = {
        path.removeprefix(f"{dev}/"): (stat.filemode(mode), os.major(number), os.minor(number))
        for path, (mode, number) in made.items()
    }
    assert seen == {
        "loop-control": ("crw-rw----", 10, 237),
        "net/tun": ("crw-rw-rw-", 10, 200),
        "snd/timer": ("crw-rw----", 116, 33),
        "fd0": ("brw-------", 2, 0),
    }
    assert stat.S_IMODE((dev / "net").stat().st_mode) == 0o755
    assert make_static_nodes(str(tmp_path), str(dev)) == []  # the next life of the daemon


@pytest.mark.parametrize(
    "line",
    [
        "x ../../etc/x c1:1",
        "x /etc/x c1:1",
        "x a//b c1:1",
        "x . c1:1",
        "x y c99999999999999999999:1",
        "x y c4096:1",
        "x y c1:1048576",
        "x y p1:1",
        "x y",
    ],
)
def test_a_bad_line_makes_nothing(tmp_path: Path, made: dict[str, tuple[int, int]], line: str) -> None:
    """No line leads out of /dev, nor to a number that the kernel does not have; it is named, and the rest is made."""
    (tmp_path / "modules.devname").write_text(f"{line}\ngood good c1:3\n")
    (problem,) = make_static_nodes(str(tmp_path), str(tmp_path))
    assert (problem.line, line in problem.message) == (1, True)
    assert list(made) == [f"{tmp_path}/good"]


def test_what_cannot_be_made_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each node that the system refuses is named with the reason; no modules.devname is no problem."""

    def refuse(path: str, mode: int, device: int) -> None:
        raise PermissionError(1, "Operation not permitted", path)

    assert make_static_nodes(str(tmp_path), str(tmp_path)) == []
    monkeypatch.setattr("posix.mknod", refuse)
    (tmp_path / "modules.devname").write_text("fuse fuse c10:229\n")
    (problem,) = make_static_nodes(str(tmp_path), str(tmp_path))
    assert problem.message == f"cannot make {tmp_path}/fuse: Operation not permitted"
