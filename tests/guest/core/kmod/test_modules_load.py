"""core/kmod/modules_load.py and its reader: which files count, in which order, and what their lines say."""

import os
from pathlib import Path

import pytest

from modaliasd.core.kmod.modules_load import Listed, parse_modules_load, parse_modules_load_words
from modaliasd.linux.named.lists import read_modules_load


def put(root: Path, files: dict[str, str]) -> None:
    """Write the files."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def test_lines() -> None:
    """Comments begin with # or ;, blanks around a line say nothing, what stands behind the name are its options."""
    text = "# a comment\n;another\n\n  loop  \nnf_conntrack hashsize=65536  expect_hashsize=1\n\t#x\nlast"
    assert parse_modules_load(text, "f") == [
        Listed("loop", "", "f", 4),
        Listed("nf_conntrack", "hashsize=65536  expect_hashsize=1", "f", 5),
        Listed("last", "", "f", 7),
    ]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("quiet modules_load=a,b rd.modules_load=c", ["a", "b", "c"]),
        ("modules-load=a,,", ["a"]),
        ("modules_load modules_load=", []),
        ("rd.modules=x modaliasd.load=modules", []),
    ],
)
def test_words_of_the_kernels_command_line(words: str, names: list[str]) -> None:
    """`modules_load=` and `rd.modules_load=` name modules, separated by commas."""
    assert [entry.name for entry in parse_modules_load_words(words)] == names


def test_the_order_of_the_files(tmp_path: Path) -> None:
    """The order is that of the names, whatever the directory; one hides the same name in later directories."""
    put(
        tmp_path,
        {
            "usr/lib/modules-load.d/10-a.conf": "first\n",
            "usr/lib/modules-load.d/20-b.conf": "hidden\n",
            "run/modules-load.d/20-b.conf": "hidden-too\n",
            "etc/modules-load.d/20-b.conf": "second\n",
            "run/modules-load.d/30-c.conf": "third\n",
            "etc/modules-load.d/40-d.conf": "fourth\nfirst\n",
            "etc/modules-load.d/50-e": "not-read\n",
            "etc/modules-load.d/60-f.alias": "not-read\n",
            "etc/modules": "zeroth a=1\n",
        },
    )
    (tmp_path / "etc/modules-load.d/modules.conf").symlink_to("../modules")  # as Debian has it
    (tmp_path / "etc/modules-load.d/70-gone.conf").symlink_to("nowhere")
    listed, problems = read_modules_load("modules_load=word", str(tmp_path))
    assert [entry.name for entry in listed] == ["word", "zeroth", "first", "second", "third", "fourth"]
    assert listed[1] == Listed("zeroth", "a=1", "/etc/modules", 1)
    assert [problem.file for problem in problems] == ["/etc/modules-load.d/70-gone.conf"]


def test_without_any_file_it_is_a_system_call_a_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is nothing, each of the six places is looked at once, and nothing else is."""
    calls: list[str] = []
    for name in ("listdir", "open", "stat", "read"):
        real = getattr(os, name)

        def noted(*args: object, real: object = real, name: str = name) -> object:
            calls.append(name)
            return real(*args)  # type: ignore[operator]

        monkeypatch.setattr(f"posix.{name}", noted)
    assert read_modules_load("quiet", str(tmp_path)) == ([], [])
    assert calls == ["listdir"] * 5 + ["open"]
