"""hostbuild.toml: found upwards, checked whole, behind the command line; and what --show-config says of it."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostbuild.configfile import Option, find_config, parse_config
from hostbuild.errors import InputError
from hostbuild.main import status_of

OPTIONS = {
    "run": [
        Option("machine_name", "machine", is_path=True),
        Option("devices", "device", multiple=True, is_path=True),
        Option("shares", "share", multiple=True, is_path=True),
        Option("kernel", "kernel", is_path=True),
        Option("append", "append"),
        Option("cpus", "cpus", is_number=True),
        Option("watch", "watch", is_flag=True),
    ],
    "make-image": [Option("selection", "modules"), Option("kernel", "kernel", is_path=True)],
    "boot": [Option("machine_name", "machine", is_path=True), Option("selection", "modules")],
    "try": [Option("kernel", "kernel", is_path=True)],
    "kernel build": [Option("source", "source", is_path=True)],
}


def values(text: str, path: str = "/p/hostbuild.toml") -> dict[str, dict[str, object]]:
    """What a file sets, by command."""
    return {name: dict(found) for name, found in parse_config(text, Path(path), OPTIONS).values.items()}


def test_the_top_is_for_all_that_have_the_key() -> None:
    """A key at the top counts for each building or booting command that has it, a table for its command, and more."""
    text = """
        kernel = "k"
        modules = "virtio"
        machine = "q35"
        [run]
        machine = "empty"
        ["kernel build"]
        source = "s"
    """
    assert values(text) == {
        "run": {"kernel": "/p/k", "machine_name": "empty"},
        "make-image": {"kernel": "/p/k", "selection": "virtio"},
        "boot": {"machine_name": "q35"},  # it brings a kernel of its own, and so does try
        "kernel build": {"source": "/p/s"},
    }


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ('kernel = "deb:linux-image-amd64"', "deb:linux-image-amd64"),
        ('kernel = "running"', "running"),
        ('kernel = "/boot/k"', "/boot/k"),
        ('machine = "q35"', "q35"),
        ('machine = "mine.toml"', "/p/mine.toml"),
        ('devices = ["e1000", "nvme,file=d.img,serial=1"]', ["e1000", "nvme,file=/p/d.img,serial=1"]),
        ('device = "e1000"', ["e1000"]),
        ('shares = [".", "../b:/mnt:ro"]', ["/p", "/b:/mnt:ro"]),
        ("cpus = 2", 2),
        ("watch = true", True),
    ],
)
def test_values(line: str, value: object) -> None:
    """Paths are the file's folder's, names stay names, an option that may be repeated has a list and a plural."""
    (found,) = values(f"[run]\n{line}\n")["run"].values()
    assert found == value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mashine = 'q35'", "unknown key 'mashine'; did you mean machine?"),
        ("[run]\ndevcie = 'x'", "[run] has an unknown key 'devcie'; did you mean device"),
        ("[runn]", "[runn] is not a command; did you mean run?"),
        ("source = 's'", "'source' at the top is for make-image, run"),
        ("cpus = 'two'", "cpus has to be a number, not 'two'"),
        ("cpus = true", "cpus has to be a number"),
        ("watch = 1", "watch has to be true or false"),
        ("machine = 3", "machine has to be a string, not 3"),
        ("devices = [1]", "devices has to be a list of strings"),
        ("devices = [['a']]", "devices has to be a list of strings"),
        ("machine = ", "not TOML"),
    ],
)
def test_mistakes(text: str, words: str) -> None:
    """A mistake is told with the file, the key and the near names, before anything is done."""
    with pytest.raises(InputError) as caught:
        values(text)
    assert words in str(caught.value)
    assert str(caught.value).startswith("/p/hostbuild.toml: ")


@given(st.text(max_size=80))
def test_any_text(text: str) -> None:
    """Whatever the file holds, it is values or an InputError."""
    try:
        values(text)
    except InputError:
        return


def test_the_nearest_file_counts(tmp_path: Path) -> None:
    """The search goes upwards and ends at the first."""
    inner = tmp_path / "a/b/c"
    inner.mkdir(parents=True)
    assert find_config(inner) in (None, *(p / "hostbuild.toml" for p in tmp_path.parents))
    (tmp_path / "hostbuild.toml").touch()
    assert find_config(inner) == tmp_path / "hostbuild.toml"
    (tmp_path / "a/b/hostbuild.toml").touch()
    assert find_config(inner) == tmp_path / "a/b/hostbuild.toml"


def test_somebody_elses_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that another user could have put there decides nothing."""
    (tmp_path / "hostbuild.toml").touch()
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    if (tmp_path / "hostbuild.toml").stat().st_uid == 0:
        monkeypatch.setattr(
            "pathlib.Path.stat", lambda _path: os.stat_result((0o100644, 0, 0, 1, 1234, 0, 0, 0, 0, 0))
        )
    with pytest.raises(InputError, match="belongs to another user"):
        find_config(tmp_path)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a file, and a folder in it that is the current one."""
    (tmp_path / "hostbuild.toml").write_text(
        'machine = "q35"\ndevices = ["e1000"]\n[run]\ncpus = 2\ntimeout = 99\n'
    )
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner")
    return tmp_path


def shown(words: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, list[str]]:
    """What --show-config prints: option -> value and source."""
    assert status_of([*words, "--show-config"]) == 0
    lines = capsys.readouterr().out.splitlines()
    return {line.split()[0]: line.split()[1:] for line in lines if not line.startswith("#")}


def test_show_config(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says what holds and from where, the command line first, also without the image that the command needs."""
    found = shown(["run", "--machine", "empty"], capsys)
    assert found["machine"] == ["empty", "the", "command", "line"]
    assert found["device"] == ["[e1000]", "hostbuild.toml:", "devices"]
    assert found["cpus"] == ["2", "hostbuild.toml:", "[run]", "cpus"]
    assert found["accel"] == ["auto"]
    assert shown(["--no-config", "run"], capsys)["machine"] == ["virtio"]


def test_every_option_has_its_key(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever --show-config names is a key that the file takes."""
    keys = [key for key in shown(["run"], capsys) if key != "dry-run"]
    lines = {"timeout": "5", "cpus": "1"} | dict.fromkeys(
        ("network", "icount", "pvh", "json", "watch", "exit-when-settled", "verbose"), "false"
    )
    lists = {"device", "share", "forward", "qemu-arg"}
    text = "".join(f"{key} = {lines.get(key, '[]' if key in lists else repr('x'))}\n" for key in keys)
    (project / "hostbuild.toml").write_text(f"[run]\n{text}")
    assert status_of(["list"]) == 0, capsys.readouterr().err


def test_a_value_that_the_option_does_not_take(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the option refuses is told with the file and the key, unless the command line has another value."""
    (project / "hostbuild.toml").write_text("[run]\ncpus = 0\n")
    assert status_of(["run", "x.img"]) == 100
    assert f"(in {project}/hostbuild.toml: [run] cpus)" in capsys.readouterr().err
    assert status_of(["run", "x.img", "--cpus", "0"]) == 100
    assert "hostbuild.toml" not in capsys.readouterr().err
