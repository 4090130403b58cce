"""What `make-image --with` brings: packages found and cut down to what is imported."""

import subprocess
from pathlib import Path

import pytest

from hostbuild.errors import WorldError
from hostbuild.image.build import ImageOptions, _selection
from hostbuild.image.filetree import FileTree
from hostbuild.image.sources import cpython, extras
from hostbuild.image.sources.cpython import Interpreter
from hostbuild.image.sources.extras import Extra
from hostbuild.image.sources.packages import Wanted, bring, paths
from hostbuild.image.sources.stdlib import Found, Origin
from tests.support.unpacked import write_libraries


def library(name: str) -> Found | None:
    """A standard library of three modules, in which one tries another."""
    sources = {"top": b"try:\n    import large\nexcept ImportError:\n    pass\n", "large": b"", "other": b""}
    return Found(Origin.SOURCE, Path(f"/lib/{name}.py"), sources[name]) if name in sources else None


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package whose __init__ imports all that it has."""
    root = tmp_path / "greedy"
    (root / "inner").mkdir(parents=True)
    files = {
        "__init__.py": "from greedy import database, wanted\nraise RuntimeError('imported')\n",
        "wanted.py": "import top\nfrom greedy.inner import leaf\n",
        "database.py": "import other\n",
        "inner/__init__.py": "",
        "inner/leaf.py": "from .. import settings\n",
        "settings.py": "",
    }
    for name, text in files.items():
        (root / name).write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("package")
def test_only_what_is_imported_is_brought() -> None:
    """With another __init__ the rest of a package stays out; what the library only tries is left out on demand."""
    whole = bring(Wanted(("greedy.wanted",), ("greedy",)), library)
    assert {"greedy.database", "greedy.settings"} <= whole.modules.keys()
    assert whole.library.modules.keys() == {"top", "large", "other"}
    part = bring(
        Wanted(("greedy.wanted",), ("greedy",), {"greedy": b"# ours\n"}, frozenset({"large"})), library
    )
    assert list(part.modules) == [
        "greedy",
        "greedy.inner",
        "greedy.inner.leaf",
        "greedy.settings",
        "greedy.wanted",
    ]
    assert part.library.modules.keys() == {"top"}
    assert part.library.missing == {"large": "top"}
    assert paths(part.modules.items())[:2] == [
        (b"# ours\n", "greedy/__init__.py"),
        (b"", "greedy/inner/__init__.py"),
    ]


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    ("wanted", "complaint"),
    [
        (Wanted(("greedy.gone",), ("greedy",)), "no module greedy.gone"),
        (Wanted(("nowhere",), ("nowhere",)), "package nowhere is not installed"),
    ],
    ids=["module", "package"],
)
def test_what_is_not_there_is_named(wanted: Wanted, complaint: str) -> None:
    """A package of another version, or none."""
    with pytest.raises(WorldError, match=complaint):
        bring(wanted, library)


@pytest.fixture(scope="module")
def interpreter() -> Interpreter:
    return cpython.require_interpreter()


@pytest.mark.slow
@pytest.mark.net
@pytest.mark.parametrize(
    ("extra", "module", "absent"),
    [
        (Extra.AUDIT, "pyudev", ("_qt_base", "ssl", "asyncio")),
        (Extra.NETWORK, "micronetd.helper", ("ssl", "_ssl", "_hashlib", "sqlite3", "pyroute2.ndb")),
    ],
    ids=["audit", "network"],
)
def test_an_extra_is_complete(
    extra: Extra, module: str, absent: tuple[str, ...], interpreter: Interpreter, tmp_path: Path
) -> None:
    """Debian's interpreter imports it from the image's files alone, and nothing large came with it."""
    [(_, brought)] = extras.require_packages([extra], interpreter).items()
    assert not set(absent) & (brought.modules.keys() | brought.library.modules.keys())
    tree = FileTree()
    tree.symlink("lib64", "usr/lib64", group="g", origin="test")
    cpython.put_interpreter(tree, interpreter, cpython.library_for(interpreter, []) | brought.library)
    extras.put_extra(tree, extra, brought, interpreter)
    write_libraries(tree, tmp_path)
    done = subprocess.run(
        [
            *interpreter.command,
            "-SsP",
            "-c",
            f"import sys; sys.path.insert(0, {str(tmp_path / 'usr/lib/modaliasd')!r}); import {module}",
        ],
        env={"PYTHONHOME": str(tmp_path / "usr")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("words", "selected"),
    [("virtio", "network,virtio"), ("qemu,-8021q", "network,qemu,-8021q"), ("none", "none"), ("", "")],
)
def test_the_network_helper_brings_its_modules(words: str, selected: str) -> None:
    """In front of the selection, which may take them out again; not where there are none, or they are learned."""
    assert _selection(ImageOptions(modules=words, extras=(Extra.NETWORK,))) == selected
    assert _selection(ImageOptions(modules=words)) == words


def test_tools_bring_their_modules() -> None:
    """In front of the selection, each once; fsck has none."""
    extras = (Extra.FSCK, Extra.LUKS, Extra.ROOT, Extra.MD, Extra.LVM)
    assert _selection(ImageOptions(modules="qemu", extras=extras)) == "root,md,lvm,luks,qemu"
