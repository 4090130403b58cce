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
