"""Completion in bash and zsh, as docs/commands.md sets it up: the shells themselves are asked."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hostbuild.live import names
from tests.support.programs import require_program

# what the shells have only while somebody types: where the answers go
_ZSH = """
compdef() { : }
_describe() { print -l -- ${(P)3} }
compadd() { print -l -- ${(P)argv[-1]} }
_path_files() { print FILES }
eval "$(_HOSTBUILD_COMPLETE=zsh_source hostbuild)"
words=("$@") CURRENT=$#
_hostbuild_completion
"""
_BASH = """
compopt() { echo FILES; }
eval "$(_HOSTBUILD_COMPLETE=bash_source hostbuild)"
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_hostbuild_completion hostbuild
printf '%s\\n' "${COMPREPLY[@]}"
"""
SHELLS = {"bash": ["bash", "--norc", "-c", _BASH, "bash"], "zsh": ["zsh", "-f", "-c", _ZSH, "zsh"]}


def complete(shell: str, *words: str) -> list[str]:
    """What the shell offers for the last word; of an item with a description the two."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed (apt-get install {shell}): its completion is to be tried")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        [*SHELLS[shell], "hostbuild", *words],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.split("\n")


@pytest.mark.slow
@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["make-"], ["make-image"]),
        (["kernel", "ch"], ["check"]),
        (["make-image", "--compress-m"], ["--compress-modules"]),
        (["make-image", "--compress", "zs"], ["zstd"]),
        (["run", "--machine", "i4"], ["i440fx"]),
        (["inspect", ""], ["FILES"]),
    ],
    ids=" ".join,
)
def test_words(words: list[str], offered: list[str], shell: str) -> None:
    """Commands, options, their values, machines and files."""
    assert [line.partition(":")[0] for line in complete(shell, *words) if line] == offered


@pytest.mark.slow
@pytest.mark.parametrize("shell", SHELLS)
def test_names_of_guests(shell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those that run, where a guest's name is asked for; not of those that have ended."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with names.claim("gone"):
        pass
    with names.claim("box"), names.claim("other"):
        assert [line for line in complete(shell, "exec", "") if line] == ["box", "other"]
        assert [line for line in complete(shell, "stop", "b") if line] == ["box"]


def test_devices_where_they_are_plugged() -> None:
    """`plug NAME` offers what `--device` offers."""
    require_program("qemu-system-x86_64")
    assert "e1000e" in complete("bash", "plug", "box", "e1000")
