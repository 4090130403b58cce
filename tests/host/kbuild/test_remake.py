"""kbuild/remake.py: make is called in the user's tree, and its first error is what they read."""

from pathlib import Path

import pytest

from hostbuild.errors import InputError
from hostbuild.kbuild.remake import remake
from hostbuild.ui import Silent
from tests.support.programs import require_program


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory that could be a tree's."""
    require_program("make")
    (tmp_path / ".config").touch()
    return tmp_path


def test_make_is_called(tree: Path) -> None:
    """In the tree, for its default goal."""
    (tree / "Makefile").write_text("all:\n\techo done > made\n")
    remake(tree, Silent())
    assert (tree / "made").read_text() == "done\n"


def test_it_builds_in_the_tree(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever KBUILD_OUTPUT says: it was heeded when the tree was found."""
    monkeypatch.setenv("KBUILD_OUTPUT", "../elsewhere")
    (tree / "Makefile").write_text('all:\n\techo "<$$KBUILD_OUTPUT>" > made\n')
    remake(tree, Silent())
    assert (tree / "made").read_text() == "<>\n"


def test_a_source_that_is_an_output_too(tree: Path) -> None:
    """kbuild's words for it do not say what is the matter."""
    said = (
        "***|*** The source tree is not clean, please run 'make ARCH=x86_64 mrproper'|*** in /src/linux|***"
    )
    lines = "".join(f'\t@echo "{line}" >&2\n' for line in said.split("|"))
    (tree / "Makefile").write_text(f"all:\n{lines}\t@exit 1\n")
    with pytest.raises(InputError, match="built in its source /src/linux itself") as caught:
        remake(tree, Silent())
    assert caught.value.hint.startswith("make -C /src/linux mrproper")


def test_the_first_error_is_told(tree: Path) -> None:
    """The compiler's, with its file, not make's own; and how all of it is seen."""
    (tree / "Makefile").write_text("all:\n\t@echo 'a.c:3:5: error: no such thing' >&2; exit 1\n")
    with pytest.raises(InputError, match=r"does not build: a\.c:3:5: error: no such thing") as caught:
        remake(tree, Silent())
    assert caught.value.hint == f"make -C {tree} shows all of it"


@pytest.mark.parametrize(
    ("name", "words"), [("Makefile", "has no Makefile"), (".config", "never configured")]
)
def test_what_cannot_be_made_is_told_before(name: str, words: str, tree: Path) -> None:
    """make would ask questions in a tree without .config, and nobody is there to answer."""
    (tree / "Makefile").write_text("all:\n\texit 1\n")
    (tree / name).unlink()
    with pytest.raises(InputError, match=words):
        remake(tree, Silent())
