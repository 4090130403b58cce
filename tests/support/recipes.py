"""The recipes of docs/ci.md: their steps, run in a shell with stand-ins for what installs things."""

import os
import re
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.commandline import hostbuild_argv
from tests.support.places import DOCS

_FENCE = re.compile(r"^## (\w+)\n.*?^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Where the recipes put the virtual environment.
_PREFIX = "/opt/venv/bin/"


def read_recipes() -> dict[str, Any]:
    """The recipes by the names of their services, parsed."""
    import yaml

    return {
        name: yaml.safe_load(text)
        for name, text in _FENCE.findall((DOCS / "ci.md").read_text(encoding="utf-8"))
    }


def steps_of(name: str, recipe: Mapping[str, Any]) -> list[str]:
    """The shell scripts of a recipe, in their order."""
    if name == "GitHub":
        return [step["run"] for step in recipe["jobs"]["matrix"]["steps"] if "run" in step]
    job = recipe["guests"]
    return ["\n".join([*job["before_script"], *job["script"]])]


def environment_of(name: str, recipe: Mapping[str, Any], project: Path) -> dict[str, str]:
    """The variables that the recipe sets."""
    given = recipe["guests"]["variables"] if name == "GitLab" else {}
    return {key: value.replace("$CI_PROJECT_DIR", str(project)) for key, value in given.items()}


def run_step(
    script: str, project: Path, stand_ins: Path, more: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a step as the services do, by a shell that ends at the first failure; `calls` in stand_ins has what installs.

    hostbuild is this tree's.
    """
    stand_ins.mkdir(exist_ok=True)
    log = shlex.quote(str(stand_ins / "calls"))
    programs = {
        "apt-get": f'echo "apt-get $*" >> {log}',
        "pip": f'echo "pip $*" >> {log}',
        "python3": f'echo "python3 $*" >> {log}',
        "hostbuild": f'exec {shlex.join(hostbuild_argv())} "$@"',
    }
    for name, body in programs.items():
        path = stand_ins / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
    env = os.environ | dict(more) | {"PATH": f"{stand_ins}:{os.environ['PATH']}"}
    return subprocess.run(
        ["sh", "-e", "-c", script.replace(_PREFIX, "")],
        cwd=project,
        env=env,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
