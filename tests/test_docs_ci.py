"""docs/ci.md: the recipes are YAML, install what exists, and their steps run (the matrix itself: tests/vm)."""

import re
from pathlib import Path

import pytest

from tests.support.places import PROJECT
from tests.support.recipes import environment_of, read_recipes, run_step, steps_of

pytest.importorskip("yaml", reason="PyYAML is not installed")


@pytest.mark.parametrize("name", ["GitHub", "GitLab"])
def test_a_recipe_runs(name: str, tmp_path: Path) -> None:
    """All steps, to the end: packages are those of our lists, the extra is ours, and hostbuild takes the options."""
    recipe = read_recipes()[name]
    project = tmp_path / "project"
    project.mkdir()
    (project / "matrix.toml").write_text('kernels = ["deb:linux-image-amd64"]\n')
    stand_ins = tmp_path / "bin"
    for script in steps_of(name, recipe):
        listed = script.replace("matrix.toml ", "matrix.toml --list ")
        done = run_step(listed, project, stand_ins, environment_of(name, recipe, project))
        assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "deb:linux-image-amd64 | virtio | default | boot"
    calls = (stand_ins / "calls").read_text().splitlines()
    [install] = [line for line in calls if line.startswith("apt-get install")]
    known = {
        line.split("#")[0].strip() for line in (PROJECT / "debian-packages.txt").read_text().splitlines()
    }
    assert {word for word in install.split()[2:] if not word.startswith("-")} <= known
    extras = re.findall(r"modaliasd\[(\w+)\]", "\n".join(calls))
    assert extras
    for extra in extras:
        assert f"\n{extra} = [" in (PROJECT / "pyproject.toml").read_text()
