"""Every command of the command line and its paths, found from click's tree, and how each is called with little work."""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import click

from hostbuild.fs.path_types import InputPath, InputWord, OutputPath
from hostbuild.kernels.bzimage import read_vmlinuz
from hostbuild.main import hostbuild
from tests.support.buildtree import lay_out_without_modules
from tests.support.komaker import FakeModule, module_bytes
from tests.support.ledgers import Q35

# What a command needs to be called at all, by its parameters' names; "" stands for a flag. A new command fails
# test_every_command_is_known until it stands here.
CALLS: dict[str, dict[str, str]] = {
    "boot": {"tree": "built-tree", "dry_run": ""},
    "capture": {"source": "boot.jsonl"},
    "check": {"image": "micro.img"},
    "demo": {},
    "exec": {"name": "nobody", "words": "true"},
    "cache": {"as_json": ""},
    "list": {"as_json": ""},
    "plug": {"name": "nobody", "device": "e1000"},
    "shell": {"image": "micro.img", "dry_run": ""},
    "stop": {"names": "nobody"},
    "try": {"module": "my.ko", "kernel": "built-tree", "dry_run": ""},
    "unplug": {"name": "nobody", "device_id": "n1"},
    "why": {"name": "nobody", "module": "e1000"},
    "diff": {"ledger_a": "boot.jsonl", "ledger_b": "other.jsonl"},
    "inspect": {"image": "micro.img"},
    "kernel build": {"source": "tree", "config": "kernel.config"},
    "kernel check": {"kernel": "kernel.config"},
    "kernel configure": {"source": "tree"},
    "kernel fetch": {"source": "tree"},
    "make-image": {"image": "new.img", "kernel": "vmlinuz", "modules_dir": "modules", "selection": "none"},
    "matrix": {"file": "matrix.toml", "list_only": ""},
    "predict": {"capture_file": "boot.jsonl", "image": "micro.img"},
    "prove": {"image": "micro.img", "ledger_file": "boot.jsonl"},
    "ram": {"image": "micro.img"},
    "report": {"ledger": "boot.jsonl", "kind": "html"},
    "run": {"image": "micro.img", "dry_run": ""},
    "tree": {"ledger": "boot.jsonl"},
    "watch": {"ledger": "boot.jsonl", "until_settled": "", "timeout": "0.2"},
}
# Parameters that are words and never paths. A new one fails test_every_path_has_a_type until it stands here.
WORDS = {"append", "memory", "release", "selection", "title"}
WORDS |= {"arch", "max_size", "trim"}
WORDS |= {"hosts", "scheduler", "ssh_python", "url"}
WORDS |= {"bill", "bills", "microcode"}
WORDS |= {"cwd", "detach", "device", "device_id", "forwards", "module", "name", "names", "qemu_args", "words"}
# How a parameter names a path where that is not the whole of its value
SPELT = {"devices": "e1000,romfile={}", "python": "build:{}"}


@dataclass(frozen=True)
class Call:
    """A command with the parameters to call it with."""

    name: str
    command: click.Command
    values: Mapping[str, str]

    def having(self, parameter: click.Parameter, path: str | Path) -> "Call":
        """The call with a path in one of its parameters."""
        assert parameter.name is not None
        value = SPELT.get(parameter.name, "{}").format(path)
        values = {**self.values, parameter.name: value}
        if (self.name, parameter.name) in (("predict", "kernel"), ("predict", "modules_dir")):
            del values["image"]  # the two exclude one another
        if (self.name, parameter.name) == ("capture", "root"):
            del values["source"]
        return replace(self, values=values)

    @property
    def argv(self) -> list[str]:
        """The words of the command line."""
        options, arguments = [], []
        for parameter in self.command.params:
            value = self.values.get(str(parameter.name))
            if value is None:
                continue
            if isinstance(parameter, click.Argument):
                arguments.append(value)
            else:
                options += [parameter.opts[-1], *([value] if value else [])]
        return [*self.name.split(), *options, *arguments]

    @property
    def outputs(self) -> list[click.Parameter]:
        """The parameters that are written."""
        return [one for one in self.command.params if isinstance(one.type, OutputPath)]

    @property
    def inputs(self) -> list[click.Parameter]:
        """The parameters that are read, or may name what is."""
        return [one for one in self.command.params if isinstance(one.type, InputPath | InputWord)]


def commands(group: click.Group = hostbuild, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, with the words that call it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


ALL = [Call(name, command, CALLS.get(name, {})) for name, command in commands()]


def make_world(directory: Path, image: Path, manifest: Path, vmlinuz: Path, modules: Path) -> None:
    """Lay out what CALLS names, and a few things that are not what they should be."""
    shutil.copy(Q35, directory / "boot.jsonl")
    shutil.copy(Q35, directory / "other.jsonl")
    (directory / "micro.img").hardlink_to(image)
    shutil.copy(manifest, directory / "micro.img.manifest.json")
    (directory / "vmlinuz").symlink_to(vmlinuz)
    (directory / "modules").symlink_to(modules)
    (directory / "matrix.toml").write_text('kernels = ["deb:linux-image-amd64"]\n')
    (directory / "kernel.config").write_text("CONFIG_MODULES=y\n")
    tree = directory / "tree"
    tree.mkdir()
    (tree / "Makefile").write_text("VERSION = 6\nPATCHLEVEL = 1\nSUBLEVEL = 0\nEXTRAVERSION =\n")
    (tree / "Kconfig").write_text("")
    version, _ = read_vmlinuz(vmlinuz)
    lay_out_without_modules(directory / "built-tree", vmlinuz, version)
    (directory / "my.ko").write_bytes(module_bytes(FakeModule("my", vermagic=f"{version} SMP ")))
    (directory / "a-file").write_bytes(b"\0 no format that anybody knows\n")
    (directory / "a-folder").mkdir()


def contents(directory: Path) -> dict[str, bytes]:
    """What is in a directory: names, and what files hold, or when large ones changed; links are not followed."""
    return {str(path.relative_to(directory)): _content(path) for path in directory.rglob("*")}


def _content(path: Path) -> bytes:
    if path.is_symlink() or not path.is_file():
        return b""
    status = path.stat()
    return (
        path.read_bytes() if status.st_size < 1 << 20 else f"{status.st_size} {status.st_mtime_ns}".encode()
    )
