"""Everything that prints facts for programs has --json, and what it prints then is JSON: each command of the table."""

import json
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from hostbuild.main import hostbuild, status_of
from modaliasd.cli import COMMANDS, main
from modaliasd.commands.options import parse
from tests.guest.test_cli import syntax_of
from tests.support.imagetree import write_vmlinuz
from tests.support.ledgers import small_boot
from tests.support.programs import require_program

TESTS = Path(__file__).resolve().parents[2]

# Commands without it, each with the reason.
WITHOUT = {
    "demo": "tells a story to people",
    "shell": "is a terminal",
    "exec": "its output is the command's own",
    "report": "--format json",
    "capture": "its output is JSON",
}
GUEST_WITHOUT = {
    "run": "the daemon; what it does is the ledger, JSON lines",
    "root": "its answer is the exit status; what it does is in the ledger",
    "settle": "its answer is the exit status",
    "wait": "prints one path",
    "load": "its answer is the exit status",
    "freeze": "its answer is the exit status",
    "may-load": "its answer is the exit status",
    "settled-script": "its answer is the exit status",
    "poweroff": "its answer is the exit status",
}
# Commands that need an image, a kernel's source or a guest -> the tests that read their JSON.
ELSEWHERE = {
    "make-image": "host/image/test_build.py",
    "run": "vm/test_commands.py",
    "boot": "vm/test_boot_tree.py",
    "try": "vm/test_boot_tree.py",
    "plug": "vm/test_commands.py",
    "unplug": "vm/test_commands.py",
    "why": "vm/test_commands.py",
    "stop": "vm/test_commands.py",
    "inspect": "host/commands/test_inspect.py",
    "check": "host/check/test_command.py",
    "ram": "host/qemu/test_memory.py",
    "predict": "host/predict/test_simulate.py",
    "prove": "vm/test_predict_vm.py",
    "kernel configure": "host/kbuild/test_configure.py",
    "kernel build": "host/kbuild/test_build.py",
}
GUEST_ELSEWHERE = {
    "coldplug": "guest/commands/test_machine.py",
    "status": "vm/test_commands.py",
    "audit": "guest/commands/test_audit.py",
}


def commands_of(group: click.Group, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command of the table, those of groups with their group's name."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands_of(command, f"{name} ")
        else:
            yield prefix + name, command


HOST = dict(commands_of(hostbuild))
GUEST = [name for _, commands in COMMANDS for name, *_ in commands]


def fits(command: click.Command) -> bool:
    """Whether a command has the option."""
    return any("--json" in one.opts for one in command.params)


def test_every_command_of_the_host_has_it() -> None:
    """Those that have not are known, with the reason; nobody stands there who has it."""
    assert {name for name, command in HOST.items() if not fits(command)} == WITHOUT.keys()


def test_every_command_of_the_guest_has_it() -> None:
    """So in the guest."""
    without = {name for name in GUEST if "--json" not in {one.name for one in syntax_of(name).options}}
    assert without == GUEST_WITHOUT.keys()


def lines(directory: Path) -> dict[str, list[str]]:
    """A command line for each command that needs neither a guest nor an image."""
    (directory / "m.toml").write_text('kernels = ["deb:linux-image-amd64"]')
    ledger, config = directory / "l.jsonl", directory / "x.config"
    ledger.write_text(small_boot().text(), encoding="ascii")
    config.write_text("CONFIG_MODULES=y\n")
    source = directory / "linux"
    source.mkdir(exist_ok=True)
    for name, text in (
        ("Kbuild", ""),
        ("Kconfig", ""),
        ("Makefile", "VERSION = 6\nPATCHLEVEL = 1\nSUBLEVEL = 7\n"),
    ):
        (source / name).write_text(text)
    return {
        "cache": ["cache"],
        "list": ["list"],
        "matrix": ["matrix", str(directory / "m.toml"), "--list"],
        "tree": ["tree", str(ledger)],
        "diff": ["diff", str(ledger), str(ledger)],
        "watch": ["watch", str(ledger), "--until-settled"],
        "kernel check": ["kernel", "check", str(config)],
        "kernel fetch": ["kernel", "fetch", str(source)],
    }


def test_what_the_host_prints_is_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing else, on standard output; of `watch` each line. The rest is read where its guest or image is."""
    for name in ("XDG_RUNTIME_DIR", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    known = lines(tmp_path)
    assert known.keys() | ELSEWHERE.keys() == HOST.keys() - WITHOUT.keys()
    for name, words in known.items():
        assert status_of([*words, "--json"]) in (0, 1), (name, capsys.readouterr().err)
        out = capsys.readouterr().out
        assert [json.loads(one) for one in (out.splitlines() if name == "watch" else [out])], name


@pytest.mark.parametrize("test", sorted({*ELSEWHERE.values(), *GUEST_ELSEWHERE.values()}))
def test_the_others_have_a_test(test: str) -> None:
    """That asks for JSON."""
    assert '"--json"' in (TESTS / test).read_text()


def test_the_devices_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """--list-devices, before --json and behind it: each device with its names, as --device takes them."""
    require_program("qemu-system-x86_64")
    for words in (["run", "--list-devices", "--json"], ["boot", "--json", "--list-devices"]):
        assert status_of(words) == 0
        found = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
        assert found["nvme"]["bus"] == "PCI"
        assert "disk" in {name for row in found.values() for name in row["also"]}


def test_it_needs_something_to_say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A console is no JSON, nor is a command's output: status 100, and what to do."""
    write_vmlinuz(tmp_path)
    for words in (
        ["run", str(tmp_path / "x.img"), "--json"],
        ["boot", str(tmp_path), "--json", "--", "true"],
    ):
        assert status_of(words) == 100
        assert "--json goes with --detach, --dry-run or --list-devices" in capsys.readouterr().err
    assert status_of(["try", str(tmp_path / "x.ko"), "--json", "--", "true"]) == 100
    assert "standard output is the command's" in capsys.readouterr().err


def test_what_the_guest_prints_is_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """tree, why and why-not of a ledger, match and check-config of a tree; what was not found is JSON, too."""
    ledger = tmp_path / "l.jsonl"
    ledger.write_text(small_boot().text(), encoding="ascii")
    modules = tmp_path / "lib/modules/6.1.0"
    modules.mkdir(parents=True)
    (modules / "modules.dep").write_text("kernel/nic.ko:\n")
    (modules / "modules.alias").write_text("alias pci:v0001* nic\n")
    of_ledger = ["--json", "--ledger", str(ledger)]
    known: dict[str, list[list[str]]] = {
        "tree": [[]],
        "why": [["nic"], ["/devices/pci0000:00/0000:00:03.0"], ["nothing"]],
        "why-not": [["dog"], ["nothing"]],
        "ledger": [[]],
        "match": [["pci:v0001d0002"], ["pci:v0009"]],
        "check-config": [[]],
    }
    assert known.keys() | GUEST_ELSEWHERE.keys() == set(GUEST) - GUEST_WITHOUT.keys()
    said = {}
    for name, all_words in known.items():
        options = {
            "match": ["--json", "--modules-dir", str(modules), "--no-config"],
            "check-config": ["--json", "--root", str(tmp_path), "--modules-dir", str(modules)],
        }.get(name, of_ledger)
        assert parse(syntax_of(name), [*options, *all_words[0]])
        for words in all_words:
            assert main([name, *options, *words]) in (0, 1), (name, capsys.readouterr().err)
            out = capsys.readouterr().out
            said[name, *words] = [json.loads(line) for line in out.splitlines()]
            assert said[name, *words], name
    [why] = said["why", "nic"]
    assert (why["module"]["module"], why["module"]["askers"][0]["match"]["module"]) == ("nic", "nic")
    assert said["why", "nothing"] == [{"module": None, "devices": []}]
    assert said["why-not", "dog"][0]["reason"] == "denied"
    assert said["match", "pci:v0001d0002"][0]["matches"][0]["alias"] == "pci:v0001*"
    assert {one["module"] for one in said["tree",][0]["loads"]} >= {"nic"}
