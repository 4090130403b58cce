"""Workers that are started by ssh, against an sshd of the test's own; what they say when they cannot be."""

import os
import sys
import time
from pathlib import Path

import pytest

from hostbuild.errors import UsageError, WorldError
from hostbuild.main import status_of
from hostbuild.matrix.workers.remote import Offer, parse_offer
from modaliasd import __version__
from tests.support.fakecells import make_job, run_fake
from tests.support.fakessh import lay_fake_ssh
from tests.support.places import PROJECT
from tests.support.programs import require_program
from tests.support.sshd import private_sshd

pytest.importorskip("distributed", reason="the extra matrix is not installed")

from hostbuild.matrix.asked.job import CellResult
from hostbuild.matrix.workers import ssh_line
from hostbuild.matrix.workers.engine import Engine
from hostbuild.matrix.workers.seats import admitted, name_of
from hostbuild.matrix.workers.ssh import check_host, ssh_cluster
from hostbuild.matrix.workers.worker import versions

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


@pytest.fixture
def fake_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the place of ssh: tests/support/fakessh.py."""
    require_program("openssl")
    monkeypatch.setenv("PATH", f"{lay_fake_ssh(tmp_path)}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.slow
def test_what_keeps_a_host_out(fake_ssh: None, tmp_path: Path, python: Path) -> None:
    """What ssh or the shell there says is told with what to do about it; a port that is taken is tried three times."""
    hosts = ["stranger", "locked", "bare", "closed", "mute", "old", "old"]
    with (
        pytest.raises(WorldError, match="no worker could be started by ssh") as caught,
        ssh_cluster(hosts, str(python), print),
    ):
        pass
    told = str(caught.value)
    for words in (
        "stranger: No ED25519 host key is known for stranger.; Host key verification failed.; its key is not known",
        "locked: me@locked: Permission denied (publickey,password).; no password is asked for: it needs a key",
        "bare: bash: line 1: python3: command not found; --ssh-python",
        "closed: Error: remote port forwarding failed for listen port 20000; its sshd may forbid",
        "mute: it says nothing",
        f"old: its hostbuild is {__version__}, not 0.0.1",
    ):
        assert words in told
    tries = {path.stem: len(path.read_text().splitlines()) for path in tmp_path.glob("*.log")}
    assert tries == dict.fromkeys(hosts, 1) | {"closed": 3}


@pytest.mark.slow
def test_a_host_that_is_lost_comes_back(
    fake_ssh: None, tmp_path: Path, python: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its worker is killed under a cell: that is told, with ssh's last words, and it takes part again.

    What its shell says before (a greeting) is not taken for the worker's word.
    """
    monkeypatch.setattr(ssh_line, "_AGAIN_S", 0.1)
    notes: list[str] = []
    jobs = [make_job("victim", "die", str(tmp_path / "died")), make_job("next", "exit", "3")]
    with ssh_cluster(["far"], str(python), notes.append) as client:
        found = dict(Engine(client, run_fake, lambda _parcel: (b"", b"", b"")).run(jobs))
        assert [one.status for one in map(found.get, jobs) if isinstance(one, CellResult)] == [0, 3]
        assert {worker["name"] for worker in client.scheduler_info()["workers"].values()} == {"far"}
    assert (tmp_path / "died").exists()
    assert len((tmp_path / "far.log").read_text().splitlines()) == 2
    lost, back = notes
    assert lost == "far is lost (Connection to far closed by remote host.): what ran there is run elsewhere"
    assert back == "far is back"
    assert workers_of(tmp_path) == []


def test_where_the_interpreter_is() -> None:
    """The shell there knows what ~ is; all else is a word to it."""
    assert ssh_line._there("~/venv x/bin/python") == "~/'venv x/bin/python'"
    assert ssh_line._there("~me/python") == "~me/python"
    assert ssh_line._there("/opt/a b/python;") == "'/opt/a b/python;'"


def test_which_workers_fit() -> None:
    """hostbuild has to be the same; of another distributed it is told; what is no answer is a reason, too."""
    ours = versions()
    assert admitted(ours) == (True, "")
    assert admitted((ours[0], "1.0")) == (
        True,
        f"has distributed 1.0, not {ours[1]}: cells may be lost by that",
    )
    assert admitted(("0.0.1", ours[1])) == (False, f"its hostbuild is 0.0.1, not {ours[0]}")
    assert admitted("0.0.1") == (False, f"its hostbuild is 0.0.1, not {ours[0]}")
    assert admitted(ModuleNotFoundError("No module named 'hostbuild'")) == (
        False,
        "No module named 'hostbuild'",
    )
    assert name_of("tls://x:1", {"name": "far"}) == "far"
    assert name_of("tls://x:1", {"name": 0}) == name_of("tls://x:1", {}) == "tls://x:1"


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
