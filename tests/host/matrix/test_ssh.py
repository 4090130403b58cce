"""Workers that are started by ssh, against an sshd of the test's own; what they say when they cannot be."""

import os
import sys
import time
from pathlib import Path

import pytest

from hostbuild.errors import UsageError, WorldError
from hostbuild.main import status_of
from hostbuild.matrix.workers.remote import Offer, parse_offer
from tests.support.fakecells import make_job, run_fake
from tests.support.places import PROJECT
from tests.support.sshd import private_sshd

pytest.importorskip("distributed", reason="the extra matrix is not installed")

from hostbuild.matrix.asked.job import CellResult
from hostbuild.matrix.workers.engine import Engine
from hostbuild.matrix.workers.ssh import check_host, ssh_cluster

_MODULE = b"hostbuild.matrix.workers.remote"


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """An interpreter that finds this checkout, whatever the environment that sshd gives it."""
    paths = [str(PROJECT), str(PROJECT / "daemon"), *filter(None, sys.path)]
    place = tmp_path / "python"
    place.write_text(
        f"#!/bin/sh\nexport PYTHONPATH='{os.pathsep.join(paths)}' XDG_CACHE_HOME='{tmp_path}' TMPDIR='{tmp_path}'\n"
        f'exec {sys.executable} "$@"\n'
    )
    place.chmod(0o755)
    return place


def workers_of(directory: Path) -> list[int]:
    """The processes of workers whose files are in a directory."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            line = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
            if _MODULE in line and os.fsencode(directory) in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def test_cells_run_over_ssh(tmp_path: Path, python: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results come back from a worker on the far side; a host where it cannot be started is left out, and named.

    When the run is over, no worker is left, nor a file of it.
    """
    server = tmp_path / "server"
    server.mkdir()
    notes: list[str] = []
    with private_sshd(server) as programs:
        monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
        with ssh_cluster(["127.0.0.1", "nobody.invalid"], str(python), notes.append) as client:
            jobs = [make_job(f"e{n}", "exit", str(n)) for n in range(3)]
            found = dict(Engine(client, run_fake, lambda _parcel: (b"", b"", b"")).run(jobs))
            results = [found[job] for job in jobs]
            assert all(isinstance(one, CellResult) for one in results)
            assert [one.status for one in results if isinstance(one, CellResult)] == [0, 1, 2]
            [there] = {int(one.output) for one in results if isinstance(one, CellResult)}
            assert there in workers_of(tmp_path)
        [note] = notes
        assert note.startswith("a computer is left out: nobody.invalid: ")
        limit = time.monotonic() + 30
        while workers_of(tmp_path) and time.monotonic() < limit:
            time.sleep(0.1)
        assert workers_of(tmp_path) == []
        assert list(tmp_path.glob("hostbuild-scratch-*")) == []
        nowhere = ssh_cluster(["127.0.0.1"], "/nowhere/python3", notes.append)
        with pytest.raises(WorldError, match=r"no worker .* 127\.0\.0\.1: .*/nowhere/python3"), nowhere:
            pass


def test_what_is_no_offer() -> None:
    """A login's greeting, or nothing at all, is told as what it is."""
    assert parse_offer(Offer(2, 1000).line()) == Offer(2, 1000)
    for line in (b"", b"Welcome!\n", b"[]\n", b'{"guests": 1}\n'):
        with pytest.raises(UsageError, match="it says"):
            parse_offer(line)


def test_hosts(tmp_path: Path) -> None:
    """What ssh would take for an option is none; one cluster at a time."""
    assert check_host("me@host") == "me@host"
    for host in ("-oProxyCommand=x", "", "a b", "a\0"):
        with pytest.raises(UsageError, match="is not a host"):
            check_host(host)
    matrix = tmp_path / "m.toml"
    matrix.write_text('kernels = ["running"]\n')
    assert status_of(["matrix", str(matrix), "--list", "--ssh", "-x"]) == 100
    assert status_of(["matrix", str(matrix), "--list", "--ssh", "x", "--workers", "2"]) == 100
