"""What is installed is what was tested: every Python package is pinned, every one asked for has its reason."""

import re
import tomllib
from importlib.metadata import distributions
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
_OURS = {"modaliasd", "pip", "setuptools"}  # the last two come with the interpreter's venv


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _pins() -> dict[str, str]:
    lines = (PROJECT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.partition("==") for line in lines if not line.startswith("#"))
    return {_normal(name): version for name, _, version in pairs}


def test_all_that_is_installed_is_pinned() -> None:
    """The virtual environment holds no package in another version than constraints.txt names; the builder's too."""
    there = {_normal(each.metadata["Name"]): each.version for each in distributions()}
    loose = {name: version for name, version in there.items() if name not in _OURS}
    assert {"hatchling", "pytest", "click"} <= loose.keys()
    assert {name: version for name, version in loose.items() if _pins().get(name) != version} == {}


def test_all_that_is_asked_for_has_a_reason() -> None:
    """Each requirement in pyproject.toml has a comment beside it."""
    text = (PROJECT / "pyproject.toml").read_text(encoding="utf-8")
    project = tomllib.loads(text)["project"]
    wanted = [each for extra in project["optional-dependencies"].values() for each in extra]
    assert project["dependencies"] == [], "the guest's part needs nothing"
    bare = [each for each in wanted if not re.search(rf'"{re.escape(each)}",\s+# \S', text)]
    assert bare == []
