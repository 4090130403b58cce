"""scripts/mutants.py: what it makes, and that its configuration speaks of what is there. It is not run here."""

from pathlib import Path

import pytest

from scripts import mutants
from tests.support.places import PROJECT

TARGETS, EQUIVALENTS = mutants.read_config([])


def test_the_configuration_speaks_of_what_is_there() -> None:
    """Every module, every test, and every line of an equivalent mutant."""
    for target in TARGETS:
        assert (PROJECT / target.path).is_file()
        assert [test for test in target.tests if not (PROJECT / test).exists()] == []
    texts = {target.name: (PROJECT / target.path).read_text(encoding="utf-8") for target in TARGETS}
    gone = [one for one in EQUIVALENTS if one.was not in map(str.strip, texts[one.module].splitlines())]
    assert gone == []


def test_an_unknown_module_is_named() -> None:
    """With those that are known."""
    with pytest.raises(SystemExit, match="unknown module nobody; known: scheduler"):
        mutants.read_config(["nobody"])


def test_what_is_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One thing at a time, also outside of functions; no annotation, docstring, sentence, nor what only mypy reads."""
    monkeypatch.setattr(mutants, "ROOT", tmp_path)
    (tmp_path / "m.py").write_text(
        '"""Doc."""\n'
        "from x import Enum\n"
        "TYPE_CHECKING = False\n"
        "if TYPE_CHECKING:\n    A = 1\n"
        "class E(Enum):\n    ONE = 1\n"
        'LIMIT = 7\nWORDS = "two words"\nNONE = ""\n'
        "def f(a: int = 3) -> int:\n    return a < LIMIT\n"
    )
    target = mutants.Target("m", "m.py", (), silent_enums=True)
    made = [change.make() for change in mutants.changes_of(target)]
    assert [(one.line, one.was, one.becomes) for one in made] == [
        (8, "LIMIT = 7", "LIMIT = None"),
        (8, "LIMIT = 7", "LIMIT = 8"),
        (9, 'WORDS = "two words"', "WORDS = None"),
        (10, 'NONE = ""', 'NONE = "XXXX"'),
        (11, "def f(a: int = 3) -> int:", "def f(a: int = 4) -> int:"),
        (12, "return a < LIMIT", "return a <= LIMIT"),
    ]


def test_a_sample_follows_from_its_seed() -> None:
    """The same again, another for another seed, all for 0; in the order of the sources."""
    [target] = mutants.read_config(["doubt"])[0]
    changes = mutants.changes_of(target)
    lines = [[one.line for one in mutants.sample(changes, 9, seed)] for seed in (1, 1, 2)]
    assert lines[0] == lines[1] == sorted(lines[0])
    assert lines[0] != lines[2]
    assert mutants.sample(changes, 0, 1) == changes
