"""Every command at the edges of the system: disks that are full, places that are not what they should be, closed pipes.

The commands and their paths are found from click's tree (tests/support/edges.py).
"""

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import click
import pytest

from hostbuild.fs import answers
from hostbuild.fs.answers import cache_directory
from hostbuild.fs.path_types import InputPath, InputWord, OutputPath
from hostbuild.image.build import BuiltImage
from hostbuild.main import status_of
from tests.support.commandline import hostbuild_argv
from tests.support.edges import ALL, CALLS, WORDS, Call, contents, make_world

pytestmark = [pytest.mark.net, pytest.mark.slow]

WRITES = [pytest.param(call, one, id=f"{call.name} {one.opts[-1]}") for call in ALL for one in call.outputs]
READS = [pytest.param(call, one, id=f"{call.name} {one.opts[-1]}") for call in ALL for one in call.inputs]
PAIRS = [
    pytest.param(call, one, other, id=f"{call.name} {one.opts[-1]} {other.opts[-1]}")
    for call in ALL
    for other in call.outputs
    for one in [*call.inputs, *call.outputs]
    if one is not other
]
# What is too much work to get as far as writing; each is seen to write through the same gate.
DEAR = {
    "demo": "boots",
    "matrix": "boots",
    "prove": "boots",
    "run": "boots",
    "boot": "boots",
    "try": "boots",
    "kernel build": "compiles",
    "kernel configure": "compiles",
}
CHEAP_WRITES = [param for param in WRITES if param.values[0].name not in DEAR]  # type: ignore[union-attr]
# Inputs that are looked at so late that a test of their own is needed
LATE = {
    ("ram", "machine_name"): "it is read for --prove",
    ("prove", "devices"): "QEMU looks at them",
    ("prove", "kernel"): "QEMU looks at it",
    ("prove", "machine_name"): "QEMU looks at it",
    ("kernel configure", "modules"): "it needs a true kernel tree",
    ("kernel configure", "aliases"): "it needs a true kernel tree",
}
# What will do: a parameter, and what it names
WILL_DO = {
    ("overlays", "a-folder"),
    ("firmware_dirs", "a-folder"),
    ("configs", "a-folder"),
    ("shares", "a-folder"),
    ("configs", "a-file"),  # modprobe.d: lines that are not understood are left out
    *(("devices", bad) for bad in ("missing", "a-folder", "a-file")),  # QEMU looks at them
}
# They ask a running guest
OF_A_GUEST = {"exec", "plug", "unplug", "why", "stop"}
# Those that print a result with little work
PRINT = [
    call
    for call in ALL
    if call.name not in {"demo", "kernel build", "kernel configure", "prove", "make-image", *OF_A_GUEST}
]


@pytest.fixture
def world(tmp_path: Path, image: BuiltImage, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with everything that the calls name; it is the current one."""
    assert image.kernel.modules is not None
    make_world(tmp_path, image.image, image.manifest_path, image.kernel.vmlinuz, image.kernel.modules)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(
    words: Sequence[str], stdout: int = subprocess.PIPE, **more: str
) -> subprocess.CompletedProcess[bytes]:
    """Run the command line as a process of its own."""
    return subprocess.run(
        hostbuild_argv(*words),
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=os.environ | more,
        timeout=60,
        check=False,
    )


def assert_told(status: int, stderr: str, path: str, statuses: Sequence[int] = (100, 111)) -> None:
    """The command failed with a message of ours that names the path."""
    assert status in statuses, stderr
    assert "Traceback" not in stderr
    assert any(line.startswith("hostbuild: ") and path in line for line in stderr.splitlines()), stderr


@cache
def why_no_mounts() -> str:
    """Why this user cannot mount in a namespace of its own; "" where that works."""
    argv = ["unshare", "-Urm", "mount", "-t", "tmpfs", "none", "/mnt"]
    if shutil.which("unshare") is None:
        return "unshare is not installed"
    return subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False).stderr.strip()


def run_on_disk(words: Sequence[str], directory: Path, options: str) -> subprocess.CompletedProcess[bytes]:
    """Run the command line where a directory is a file system of its own; skip where nothing can be mounted."""
    if why := why_no_mounts():
        pytest.skip(f"no file system can be mounted here: {why}")
    listing = 'ls -A "$0"; exit $status'
    script = f'mount -t tmpfs -o {options} none "$0" && "$@" >/dev/null; status=$?; {listing}'
    argv = ["unshare", "-Urm", "sh", "-c", script, str(directory), *hostbuild_argv(*words)]
    return subprocess.run(argv, capture_output=True, timeout=60, check=False)


def test_every_command_is_known() -> None:
    """Each command of the command line is called here."""
    assert {call.name for call in ALL} == CALLS.keys()


@pytest.mark.parametrize("call", ALL, ids=lambda call: call.name)
def test_every_path_has_a_type(call: Call) -> None:
    """Each parameter is a path with a type that is compared with the others, a number, a choice, or a known word."""
    for parameter in call.command.params:
        kind = parameter.type
        if isinstance(
            kind, InputPath | OutputPath | InputWord | click.Choice | click.IntRange | click.FloatRange
        ):
            continue
        if parameter.name in WORDS or kind is click.BOOL or getattr(parameter, "is_flag", False):
            continue
        pytest.fail(f"{call.name} {parameter.name}: {kind!r}")


@pytest.mark.parametrize(("call", "output"), WRITES)
@pytest.mark.parametrize("place", ["missing/x", "a-file/x", "a-folder"])
def test_places_where_nothing_can_be_written(
    call: Call, output: click.Parameter, place: str, world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A missing folder, a file in place of one, and the reverse are the caller's fault, told before the work."""
    assert isinstance(output.type, OutputPath)
    if place == "missing/x" and output.type.parents:
        pytest.skip("it makes the folder")
    if place == "a-folder" and output.type.directory:
        place = "a-file"
    before = contents(world)
    status = status_of(call.having(output, place).argv)
    assert_told(status, capsys.readouterr().err, place, [100])
    assert contents(world) == before


@pytest.mark.slow
@pytest.mark.parametrize(("call", "output"), WRITES)
def test_read_only_disk(call: Call, output: click.Parameter, world: Path) -> None:
    """A file system that cannot be written to is told before the work."""
    done = run_on_disk(call.having(output, "a-folder/x").argv, world / "a-folder", "ro")
    assert_told(done.returncode, done.stderr.decode(), "a-folder/x", [100])
    assert b"read-only" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("call", "output"), CHEAP_WRITES)
def test_full_disk(call: Call, output: click.Parameter, world: Path) -> None:
    """A disk that fills up is the world's fault; nothing half-written stays on it."""
    done = run_on_disk(call.having(output, "a-folder/x").argv, world / "a-folder", "size=4k")
    assert_told(done.returncode, done.stderr.decode(), "a-folder/x", [111])
    assert b"No space left on device" in done.stderr
    assert done.stdout == b""  # what is in the directory


@pytest.mark.slow
@pytest.mark.parametrize("old", [None, b"what was there before\n"])
@pytest.mark.parametrize(("call", "output"), CHEAP_WRITES)
def test_limited_size(call: Call, output: click.Parameter, old: bytes | None, world: Path) -> None:
    """Where a file cannot get its full size, the old one is as it was, or there is none."""
    if old is not None:
        (world / "x").write_bytes(old)
    before = contents(world)
    argv = ["prlimit", "--fsize=4096", *hostbuild_argv(*call.having(output, "x").argv)]
    # of its own scratch files, too, only the first 4 KiB can be written: whichever fails first
    done = subprocess.run(argv, capture_output=True, timeout=60, check=False)
    assert_told(done.returncode, done.stderr.decode(), "", [111])
    assert contents(world) == before


def test_dear_commands_write() -> None:
    """The list of what is too much work names no command that is gone, or that writes nothing."""
    assert DEAR.keys() <= {call.name for call in ALL if call.outputs}


@pytest.mark.parametrize("bad", ["missing", "a-folder", "a-file"])
@pytest.mark.parametrize(("call", "named"), READS)
def test_inputs_that_are_not_what_they_should_be(
    call: Call, named: click.Parameter, bad: str, world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A missing input, a folder, a file of nonsense: a message that names it, unless it will do."""
    if (call.name, named.name) in LATE:
        pytest.skip(LATE[call.name, str(named.name)])
    before = contents(world)
    status = status_of(call.having(named, world / bad).argv)
    captured = capsys.readouterr()
    if "a kernel cannot be built here" in captured.err:
        pytest.skip("kernel configure wants the toolchain first (make setup-kernel)")
    if status == 0 or (call.name, status) == ("kernel check", 1):
        assert (named.name, bad) in WILL_DO
        return
    assert_told(status, captured.err, str(world / bad))
    assert contents(world) == before


@pytest.mark.parametrize("link", ["itself", "hard link", "symlink"])
@pytest.mark.parametrize(("call", "one", "output"), PAIRS)
def test_output_is_never_input(
    call: Call,
    one: click.Parameter,
    output: click.Parameter,
    link: str,
    world: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of all pairs of a command's paths, one that is written cannot be another, by whatever link."""
    assert isinstance(output.type, OutputPath)
    precious, alias = world / "precious", world / "alias"
    if output.type.directory:
        precious.mkdir()
        (precious / "x").touch()
    else:
        precious.write_bytes(b"precious")
    if link == "symlink" or (link == "hard link" and output.type.directory):
        alias.symlink_to(precious)
    elif link == "hard link":
        alias.hardlink_to(precious)
    else:
        alias = precious
    before = contents(world)
    status = status_of(call.having(one, precious).having(output, alias).argv)
    assert_told(status, capsys.readouterr().err, "", [100])
    assert contents(world) == before


@pytest.mark.parametrize(
    "argv",
    [
        ["run", "micro.img", "--ledger-out", "micro.img.manifest.json", "--dry-run"],
        ["run", "micro.img", "--ledger-out", "micro.img.vmlinuz", "--dry-run"],
        ["report", "boot.jsonl", "--image", "micro.img", "-o", "micro.img.manifest.json"],
        ["make-image", "--kernel", "new.img.vmlinuz", "-o", "new.img"],
        ["make-image", "--learn", "new.img.manifest.json", "-o", "new.img"],
        ["make-image", "--overlay", "a-folder", "-o", "a-folder/new.img"],
        ["kernel", "configure", "--source", "tree", "-o", "tree/.config"],
    ],
)
def test_output_is_never_what_goes_with_an_input(
    argv: list[str], world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An image's manifest and kernel, what is in an overlay, a kernel tree's .config are inputs, too."""
    for name in ("new.img.manifest.json", "new.img.vmlinuz", "micro.img.vmlinuz", "tree/.config"):
        if name in argv:
            (world / name).write_text("{}")
    before = contents(world)
    assert status_of(argv) == 100
    assert "would" in capsys.readouterr().err
    assert contents(world) == before


@pytest.mark.slow
@pytest.mark.parametrize("call", ALL, ids=lambda call: call.name)
def test_help_to_a_full_disk(call: Call) -> None:
    """What cannot be written to standard output is a message and 111."""
    with open("/dev/full", "wb") as full:
        done = run([*call.name.split(), "--help"], stdout=full.fileno())
    assert_told(done.returncode, done.stderr.decode(), "standard output", [111])


@pytest.mark.slow
@pytest.mark.parametrize("call", PRINT, ids=lambda call: call.name)
def test_result_to_a_full_disk(call: Call, world: Path) -> None:
    """A result that cannot be written to standard output is a message and 111."""
    with open("/dev/full", "wb") as full:
        done = run(call.argv, stdout=full.fileno())
    assert_told(done.returncode, done.stderr.decode(), "standard output", [111])
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("call", PRINT, ids=lambda call: call.name)
def test_closed_pipe(call: Call, world: Path) -> None:
    """Whoever reads our output and goes away ends the command in silence, with a shell's status for SIGPIPE."""
    outlet, inlet = os.pipe()
    os.close(outlet)
    try:
        done = run(call.argv, stdout=inlet)
    finally:
        os.close(inlet)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.slow
@pytest.mark.parametrize("call", PRINT, ids=lambda call: call.name)
def test_ascii_locale(call: Call, world: Path) -> None:
    """Where the terminal knows ASCII only, every result is printed, in ASCII unless it is a file's text."""
    done = run(call.argv, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert b"Traceback" not in done.stderr
    assert done.stdout
    assert done.stdout.isascii() or call.name == "report"


@pytest.mark.slow
def test_json_in_any_locale(world: Path) -> None:
    """--json is JSON with the same content in ASCII as in UTF-8."""
    (world / "größe.img").hardlink_to(world / "micro.img")
    ascii_only = run(["inspect", "--json", "größe.img"], LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    usual = run(["inspect", "--json", "größe.img"], LC_ALL="C.UTF-8")
    assert ascii_only.stdout.isascii()
    told, expected = json.loads(ascii_only.stdout), json.loads(usual.stdout)
    del told["image"], expected["image"]  # an argument that is no ASCII comes as bytes
    assert told == expected


@pytest.mark.slow
@pytest.mark.parametrize("room", ["size=4k", "ro"])
def test_no_room_for_temporary_files(
    room: str, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full or read-only TMPDIR is named, with the variable that moves it.

    In a cache that has no answers: an image of modules that were indexed before needs no temporary files.
    """
    (tmp_path / "hostbuild").mkdir()
    for kept in cache_directory().iterdir():
        if kept.name != answers.KIND:
            (tmp_path / "hostbuild" / kept.name).symlink_to(kept)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(world / "a-folder"))
    monkeypatch.setenv("TEMP", str(world / "a-folder"))
    call = next(call for call in ALL if call.name == "make-image")
    done = run_on_disk(call.having(call.outputs[0], "x").argv, world / "a-folder", room)
    if room == "ro":  # Python takes /tmp or the current directory instead
        assert done.returncode == 0, done.stderr
        return
    assert_told(done.returncode, done.stderr.decode(), str(world / "a-folder"), [111])
    assert b"TMPDIR" in done.stderr
    assert not list(world.glob("x*"))


@pytest.mark.slow
def test_closed_standard_output(world: Path) -> None:
    """With standard output closed (>&-) nothing that is opened gets its number and the output; it is an error."""
    before = contents(world)
    argv = ["sh", "-c", 'exec "$@" >&-', "sh", *hostbuild_argv("tree", "boot.jsonl")]
    done = subprocess.run(argv, capture_output=True, timeout=60, check=False)
    assert_told(done.returncode, done.stderr.decode(), "standard output: Bad file descriptor", [111])
    assert contents(world) == before


@pytest.mark.slow
def test_full_standard_error(world: Path) -> None:
    """Where no message can be written, the status still tells."""
    with open("/dev/full", "wb") as full:
        argv = hostbuild_argv("tree", "missing")
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=full, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (100, b"")


def test_standard_output_is_never_an_input(world: Path) -> None:
    """A result is not appended to the file that it is made of."""
    before = contents(world)
    with (world / "boot.jsonl").open("ab") as out:
        done = run(["tree", "boot.jsonl"], stdout=out.fileno())
    assert_told(done.returncode, done.stderr.decode(), "standard output would overwrite boot.jsonl", [100])
    assert contents(world) == before


@pytest.mark.parametrize("name", ["tree", "report", "predict", "diff"])
def test_nesting_without_end(name: str, world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """JSON that is nested a hundred thousand times is a bad input, not a traceback."""
    call = next(call for call in ALL if call.name == name)
    (world / "boot.jsonl").write_text('{"type":' + "[" * 100_000 + "]" * 100_000 + "}\n")
    assert_told(status_of(call.argv), capsys.readouterr().err, "", [100])
