"""hostbuild run IMAGE -- COMMAND, and guests by name: statuses, streams, folders, signals, devices, ends."""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hostbuild.beside.virtiofsd import find_virtiofsd, why_not
from hostbuild.image.build import BuiltImage, ImageOptions, build_image
from hostbuild.kernels.kernel import Kernel
from tests.support.commandline import hostbuild_argv

pytestmark = pytest.mark.vm

LIMIT_S = 240


@pytest.fixture(scope="module")
def small(debian_kernel: Kernel, tmp_path_factory: pytest.TempPathFactory) -> BuiltImage:
    """An image with what these tests need of modules."""
    assert debian_kernel
    path = tmp_path_factory.mktemp("small") / "small.img"
    return build_image(
        path,
        ImageOptions(
            "deb:linux-image-amd64", modules="9p,9pnet_virtio,virtiofs,e1000,virtio_console,virtio_pci"
        ),
    )


def hostbuild(*words: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run the command line."""
    return subprocess.run(
        hostbuild_argv(*words), input=stdin, capture_output=True, timeout=LIMIT_S + 60, check=False
    )


def run(
    image: BuiltImage, *words: str, stdin: bytes = b"", options: tuple[str | Path, ...] = ()
) -> tuple[int, bytes, str]:
    """Run a command in a guest of its own; return status, standard output, standard error."""
    options = ("--machine", "empty", "--accel", "tcg", "--timeout", str(LIMIT_S), *options)
    done = hostbuild("run", image.image, *options, "--", *words, stdin=stdin)
    return done.returncode, done.stdout, done.stderr.decode()


def test_a_command_is_as_if_it_ran_here(small: BuiltImage, tmp_path: Path) -> None:
    """Status, both outputs apart and byte by byte, standard input, folders to read and to write; no console."""
    (tmp_path / "read").mkdir()
    (tmp_path / "read/file").write_bytes(b"\0\xff")
    (tmp_path / "write").mkdir()
    script = f"cat; cat {tmp_path}/read/file; pwd >&2; echo made > made; touch {tmp_path}/read/x; exit 7"
    options = ("--share", f"{tmp_path}/read:ro", "--share", f"{tmp_path}/write", "--cwd", f"{tmp_path}/write")
    data = os.urandom(20000)
    status, out, err = run(small, "sh", "-c", script, stdin=data, options=options)
    assert (status, out) == (7, data + b"\0\xff")
    assert err.splitlines() == [f"{tmp_path}/write", f"touch: {tmp_path}/read/x: Read-only file system"]
    assert (tmp_path / "write/made").read_text() == "made\n"
    assert not (tmp_path / "read/x").exists()


def test_a_panic(small: BuiltImage) -> None:
    """A guest whose kernel panics under a command is 112, and the kernel's report is shown from its beginning."""
    status, _, err = run(small, "sh", "-c", "echo c >/proc/sysrq-trigger; sleep 100")
    assert status == 112
    assert "the guest's kernel panicked" in err.splitlines()[0]
    assert any("Kernel panic - not syncing: sysrq triggered crash" in line for line in err.splitlines()[1:])


def test_no_memory_left(small: BuiltImage) -> None:
    """A command that the kernel ends for want of memory is 137, and what happened is said; the agent lives on."""
    status, _, err = run(small, "tail", "/dev/zero", options=("--memory", "192M"))
    assert status == 137
    assert "the guest ran out of memory, and its kernel ended tail" in err


def test_the_guest_ends_under_a_command(small: BuiltImage) -> None:
    """A guest that is switched off with a status has that one."""
    status, _, _ = run(small, "sh", "-c", "modaliasd poweroff 42; sleep 100")
    assert status == 42


def test_at_the_time_limit(small: BuiltImage) -> None:
    """A command that goes on is ended with its guest: 124."""
    status, out, err = run(small, "sh", "-c", "echo begun; sleep 1000", options=("--timeout", "60"))
    assert (status, out) == (124, b"begun\n")
    assert "the command was still running after 60 s" in err


def test_a_guest_with_a_name_is_reached_from_elsewhere(
    small: BuiltImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it runs in the foreground others list it, plug into it and ask it; nobody else gets its name.

    Ctrl-C goes to its command, whose own end counts.
    """
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    script = "trap 'echo caught; exit 5' INT; echo up; while :; do sleep 0.1; done"
    words = ["--machine", "empty", "--accel", "tcg", "--timeout", str(LIMIT_S), "--name", "n1"]
    argv = hostbuild_argv("run", small.image, *words, "--", "sh", "-c", script)
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        for _ in range(100):  # its keeper begins beside the command
            if hostbuild("exec", "n1", "--", "true").returncode == 0:
                break
            time.sleep(0.1)
        plugged = json.loads(hostbuild("plug", "n1", "e1000,id=c1", "--json").stdout)
        assert list(plugged["drivers"].values()) == ["e1000"]
        assert b"asked for it" in hostbuild("why", "n1", "e1000").stdout
        taken = hostbuild("run", small.image, *words)
        assert (taken.returncode, b"running already" in taken.stderr) == (100, True)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=LIMIT_S)
    assert (process.returncode, out, err) == (5, b"caught\n", b"")
    assert b"switched off, with status 5" in hostbuild("list").stdout


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """A folder, and the options that share it: by virtiofs where that runs here, else by 9p."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "file").write_text("from here\n")
    virtiofsd = find_virtiofsd()
    by = "9p" if virtiofsd is None or why_not(virtiofsd, folder) else "virtiofs"
    return ("--share", str(folder), "--share-by", by)


def serving(folder: str) -> list[int]:
    """The process ids of those virtiofsd that serve a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if {f"source={folder}".encode(), f"--shared-dir={folder}".encode()} & set(words):
                found.append(int(path.parent.name))
    return found


@pytest.fixture(scope="module")
def box(
    small: BuiltImage, served: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A detached guest, in a place of the tests' own."""
    home = tmp_path_factory.mktemp("runtime")
    before = os.environ.get("XDG_RUNTIME_DIR")
    os.environ["XDG_RUNTIME_DIR"] = str(home)
    try:
        words = ("--machine", "empty", "--device", "virtio-serial-pci", "--accel", "tcg")
        begun = hostbuild("run", small.image, *words, *served, "--detach", "box", "--json")
        assert begun.returncode == 0, begun.stderr
        about = json.loads(begun.stdout)
        assert (about["name"], about["settled"]["failed"]) == ("box", 0)
        yield "box"
        hostbuild("stop", "--all")
    finally:
        if before is None:
            del os.environ["XDG_RUNTIME_DIR"]
        else:
            os.environ["XDG_RUNTIME_DIR"] = before


def qemu_of(name: str) -> int:
    """The process id of a guest's QEMU."""
    (row,) = [row for row in json.loads(hostbuild("list", "--json").stdout) if row["name"] == name]
    return int(row["qemu"])


def gone(pid: int) -> bool:
    """Whether a process has ended, within a while."""
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists():
            return True
        time.sleep(0.1)
    return False


def test_commands_in_a_detached_guest(box: str) -> None:
    """Commands have their status and streams, several at a time; what is not there is 127."""
    done = hostbuild("exec", box, "--", "sh", "-c", "cat; echo err >&2; exit 3", stdin=b"in\0\n")
    assert (done.returncode, done.stdout, done.stderr) == (3, b"in\0\n", b"err\n")
    slow = subprocess.Popen(hostbuild_argv("exec", box, "--", "sleep", "1000"), stdin=subprocess.DEVNULL)
    try:
        assert hostbuild("exec", box, "--", "no-such").returncode == 127
    finally:
        slow.kill()
        slow.wait()
    for _ in range(50):  # what a client was killed under is ended, too
        if hostbuild("exec", box, "--", "pidof", "sleep").returncode == 1:
            break
        time.sleep(0.2)
    else:
        pytest.fail("the command of a client that was killed is still running")


def test_a_folder_of_a_detached_guest(box: str, served: tuple[str, ...]) -> None:
    """It is mounted as it was asked for, and both sides read what the other writes."""
    _, folder, _, by = served
    script = f"grep ' {folder} {by} ' /proc/mounts; cat {folder}/file; echo from the guest > {folder}/new"
    done = hostbuild("exec", box, "--", "sh", "-c", script)
    assert f" {folder} {by} rw".encode() in done.stdout, done.stderr
    assert done.stdout.endswith(b"from here\n")
    assert Path(folder, "new").read_text() == "from the guest\n"
    assert bool(serving(folder)) == (by == "virtiofs")


def test_bulk_in_a_detached_guest(box: str) -> None:
    """With a virtio serial controller commands go over a port of it; once its driver has gone, over the serial line.

    A command that ran over it is lost, and the error says of what.
    """
    data = os.urandom(300_000)
    over = "ls -l /proc/$PPID/fd | grep -o -m1 -E '/dev/(vport|ttyS2).*' >&2"
    done = hostbuild("exec", box, "--", "sh", "-c", f"{over}; cat", stdin=data)
    assert (done.returncode, done.stdout == data) == (0, True)
    assert done.stderr.startswith(b"/dev/vport")
    away = "cd /sys/bus/virtio/drivers/virtio_console; echo virtio[0-9]* > unbind; sleep 1000"
    lost = hostbuild("exec", box, "--", "sh", "-c", away)
    assert lost.returncode == 112
    assert b"the guest's agent on the virtio port has ended" in lost.stderr
    done = hostbuild("exec", box, "--", "sh", "-c", over)
    assert (done.returncode, done.stderr) == (0, b"/dev/ttyS2\n")


def test_devices_of_a_detached_guest(box: str) -> None:
    """A device is plugged in and drives, its module says why, it goes again; unknown ones are told with near names."""
    plugged = hostbuild("plug", box, "e1000,id=n1", "--json")
    value = json.loads(plugged.stdout)
    assert (value["id"], value["loaded"]) == ("n1", ["e1000"])
    assert list(value["drivers"].values()) == ["e1000"]
    assert b"asked for it" in hostbuild("why", box, "e1000").stdout
    why = json.loads(hostbuild("why", box, "e1000", "--json").stdout)
    assert [one["driver"] for one in why["module"]["drives"]] == ["e1000"]
    status = json.loads(hostbuild("exec", box, "--", "modaliasd", "status", "--json").stdout)
    assert status["settled"]
    assert json.loads(hostbuild("unplug", box, "n1", "--json").stdout)["id"] == "n1"
    for words, said in (
        (("plug", box, "e1001"), b"did you mean e1000"),
        (("plug", box, "e1000,foo=1"), b"foo"),
        (("unplug", box, "n1"), b"cannot unplug n1"),
        (("exec", "bxo", "--", "true"), b"did you mean box"),
        (("run", "x.img", "--detach", box), b"running already"),
    ):
        done = hostbuild(*words)
        assert done.returncode == 100, (words, done.stderr)
        assert said in done.stderr, words


def test_a_keeper_that_is_killed_takes_its_guest_along(
    small: BuiltImage, served: tuple[str, ...], box: str
) -> None:
    """Neither QEMU nor virtiofsd is left behind, and the name is free; what became of it is told once."""
    before = serving(served[1])
    words = ("--machine", "empty", "--accel", "tcg", *served)
    begun = hostbuild("run", small.image, *words, "--detach", "victim")
    assert begun.returncode == 0, begun.stderr
    rows = {row["name"]: row for row in json.loads(hostbuild("list", "--json").stdout)}
    os.kill(rows["victim"]["pid"], signal.SIGKILL)
    assert gone(rows["victim"]["qemu"])
    assert all(map(gone, set(serving(served[1])) - set(before)))
    ended = hostbuild("exec", "victim", "--", "true")
    assert (ended.returncode, b"victim has ended" in ended.stderr) == (112, True)
    assert b"its keeper was killed" in hostbuild("list").stdout
    assert b"victim" not in hostbuild("list").stdout


def test_a_guest_that_is_stopped(box: str, served: tuple[str, ...]) -> None:
    """Its QEMU and its virtiofsd have gone when stop returns, and its name is nobody's."""
    qemu = qemu_of(box)
    stopped = hostbuild("stop", box, "--json")
    assert (stopped.returncode, json.loads(stopped.stdout)) == (0, {"stopped": ["box"]})
    assert gone(qemu)
    assert serving(served[1]) == []
    assert json.loads(hostbuild("list", "--json").stdout) == []


def test_a_quiet_console(small: BuiltImage) -> None:
    """No line of the kernel's log is on the console; a script on standard input runs, and its status counts.

    Into a pipe the console has no shell, whose greeting and terminal sequences would be in the output.
    """
    words = ["--machine", "empty", "--accel", "tcg", "--timeout", str(LIMIT_S)]
    done = hostbuild("run", small.image, *words, stdin=b"echo from a script\nuname -s\nexit 6\n")
    assert done.returncode == 6, done.stderr
    assert b"from a script\nLinux\n" in done.stdout
    assert b"Linux version" not in done.stdout
    assert b"modaliasd: " not in done.stdout
    assert not [word for word in (b"\x1b", b"\r", b"BusyBox", b"micro:") if word in done.stdout], done.stdout
