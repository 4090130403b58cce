"""core/kmod/modules_dep.py: modules.dep, modules.softdep, modules.builtin."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modaliasd.core.kmod.modules_dep import (
    Dependencies,
    ModuleFile,
    Softdep,
    module_name,
    parse_builtin,
    parse_dep_line,
    parse_softdeps,
    parse_symbols,
)
from tests.support.komaker import FakeModule, make_tree

DEP = (Path(__file__).resolve().parent.parent / "data" / "kmod-cases.modules.dep").read_text()

folders = st.sampled_from(("", "kernel/", "kernel/a-b/", "/lib/modules/x/extra/"))
suffixes = st.sampled_from((".ko", ".ko.xz", ".ko.gz", ".ko.zst"))
paths = st.builds("{}{}{}".format, folders, st.text(alphabet="ab-_9", min_size=1, max_size=5), suffixes)
tables = st.dictionaries(paths, st.lists(paths, max_size=4), max_size=8)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("kernel/sound/core/snd-pcm.ko", "snd_pcm"),
        ("kernel/sound/core/snd-pcm.ko.xz", "snd_pcm"),
        ("snd.ko.zst", "snd"),
        ("/lib/modules/x/extra/a.b.ko", "a"),
        ("snd-pcm", "snd_pcm"),
    ],
)
def test_module_name(path: str, name: str) -> None:
    """A module's name is its file's name up to the first dot, dashes being underscores."""
    assert module_name(path) == name


def test_line() -> None:
    """A line names the dependencies last one first."""
    line = "kernel/a-x.ko.xz: kernel/b.ko.xz kernel/c/c-d.ko.xz"
    assert parse_dep_line(line) == ModuleFile("a_x", "kernel/a-x.ko.xz", ("c_d", "b"))
    assert parse_dep_line("") is None


def test_order_of_insertion() -> None:
    """Every module comes after the ones it needs, itself last."""
    dependencies = Dependencies(DEP)
    order = dependencies.load_order("snd_hda_intel")
    assert order.modules[:3] == ("soundcore", "snd", "snd_timer")
    assert order.modules[-1] == "snd_hda_intel"
    assert (order.missing, order.cycle) == ((), ())
    for at, name in enumerate(order.modules):
        file = dependencies.find(name)
        assert file is not None
        assert set(file.needs) <= set(order.modules[:at])


def reading_of_all(text: str) -> dict[str, ModuleFile]:
    """Every line, by the name of its module."""
    files = [parse_dep_line(line) for line in text.split("\n")]
    return {file.name: file for file in files if file is not None}


@given(tables.filter(lambda table: len({module_name(path) for path in table}) == len(table)))
def test_lookup_is_the_whole_file_read(table: dict[str, list[str]]) -> None:
    """A module asked for alone is the one that a reading of all lines gives; what is only needed has no line.

    Whatever the folders, the dashes and the endings of all of them.
    """
    text = "".join(f"{path}: {' '.join(needs)}\n" for path, needs in table.items())
    whole = reading_of_all(text)
    assert {file.path for file in whole.values()} == set(table)
    needed = {module_name(need) for needs in table.values() for need in needs}
    for name in {*whole, *needed, "", "a", "no-such"}:
        assert Dependencies(text).find(name) == whole.get(name)


@pytest.mark.parametrize("ending", [".ko", ".ko.xz", ".ko.zst"])
def test_lookup_in_a_real_file(ending: str) -> None:
    """Lines of Debian's are found by their names, with files of any ending, one of another ending among them."""
    text = DEP.replace(".ko", ending).replace("/snd" + ending, "/snd.ko.gz")
    whole = reading_of_all(text)
    dependencies = Dependencies(text)
    assert {name: dependencies.find(name) for name in whole} == whole
    assert [dependencies.find(name) for name in ("snd-pcm", "sn", "nd", "snd.ko", "core/snd", "core")] == [
        None
    ] * 6


@given(st.text(), st.text() | st.sampled_from(("a", "b", ":", "a.ko")))
def test_any_text(text: str, name: str) -> None:
    """No text makes the parsers fail; a line that is found stands in the text."""
    file = Dependencies(text).find(name)
    assert file is None or (file.name == name and f"{file.path}:" in text)
    parse_builtin(text)
    parse_softdeps(text)
    parse_symbols(text)


def test_missing_dependencies_are_named() -> None:
    """A needed module without a line of its own is reported by name, as is an unknown module itself."""
    dependencies = Dependencies("kernel/a.ko: kernel/b.ko kernel/c-d.ko\nkernel/b.ko:\n")
    assert dependencies.load_order("a").missing == ("c_d",)
    assert dependencies.load_order("b").missing == ()
    assert dependencies.load_order("zz").missing == ("zz",)


@pytest.mark.parametrize(
    ("text", "asked", "cycle"),
    [
        ("k/a.ko: k/b.ko\nk/b.ko: k/a.ko\n", "a", ("a", "b", "a")),
        ("k/a.ko: k/b.ko\nk/b.ko: k/c.ko\nk/c.ko: k/a.ko\n", "b", ("b", "c", "a", "b")),
        ("k/a.ko: k/a.ko\n", "a", ("a", "a")),
        ("k/t.ko: k/a.ko\nk/a.ko: k/b.ko\nk/b.ko: k/a.ko\n", "t", ("a", "b", "a")),
        ("k/a.ko: k/b.ko k/c.ko\nk/b.ko: k/c.ko\nk/c.ko:\n", "a", ()),
    ],
)
def test_cycles_are_named(text: str, asked: str, cycle: tuple[str, ...]) -> None:
    """A dependency cycle that a module is in, or leads to, is given with its first name at both ends."""
    assert Dependencies(text).load_order(asked).cycle == cycle


def test_depmod_names_the_same_cycle(tmp_path: Path) -> None:
    """depmod refuses a tree with a cycle and names it, as we do for tables of other making."""
    modules = [FakeModule("a", needs=["b"]), FakeModule("b", needs=["a"]), FakeModule("c")]
    with pytest.raises(subprocess.CalledProcessError) as refused:
        make_tree(tmp_path, "6.1.0", modules)
    assert "Cycle detected: a -> b -> a" in refused.value.stderr
    assert Dependencies("k/a.ko: k/b.ko\nk/b.ko: k/a.ko\n").load_order("a").cycle == ("a", "b", "a")


def test_softdeps() -> None:
    """Lines keep order and number; words before `pre:` and `post:` are none (Debian's cifs has some)."""
    text = "# Softdeps\nsoftdep ext4 pre: crypto-crc32c\nsoftdep cifs gcm\nsoftdep a-b post: c pre: d e\n"
    assert parse_softdeps(text, "s") == (
        Softdep("ext4", ("crypto-crc32c",), (), "s", 2),
        Softdep("cifs", (), (), "s", 3),
        Softdep("a_b", ("d", "e"), ("c",), "s", 4),
    )


def test_builtin_and_symbols() -> None:
    """modules.builtin gives names, modules.symbols gives a module for a symbol."""
    assert parse_builtin("kernel/fs/binfmt-script.ko\nkernel/a.ko\n\n") == {"binfmt_script", "a"}
    assert parse_symbols("# Aliases\nalias symbol:x_y mod\n") == {"symbol:x_y": "mod"}
