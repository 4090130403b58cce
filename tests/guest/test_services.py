"""The services for full systems: what they start exists, shells can read them, systemd finds nothing wrong."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from modaliasd.commands.ask import SETTLE
from modaliasd.commands.options import parse
from modaliasd.commands.run import RUN
from tests.support.places import PROJECT
from tests.support.programs import require_program

SERVICES = PROJECT / "daemon" / "services"
SYNTAXES = {"run": RUN, "settle": SETTLE}
FILES = sorted(path for path in SERVICES.rglob("*") if path.is_file())
SCRIPTS = [path for path in FILES if path.read_bytes().startswith(b"#!")]
UNITS = sorted((SERVICES / "systemd").iterdir())


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SERVICES)))
def test_commands_are_those_of_the_program(path: Path) -> None:
    """Every command that a service runs, with its options, is one that modaliasd takes."""
    text = path.read_text(encoding="ascii")
    lines = re.findall(r"^(?:ExecStart=|exec )modaliasd (.*)$", text, re.MULTILINE)
    lines += re.findall(r"/usr/bin/modaliasd (settle [^|]*?) *\|\|", text)
    lines += [
        line.replace("${modaliasd_args:-}", "--observe") for line in re.findall(r'command_args="(.*)"', text)
    ]
    for line in lines:
        command, *arguments = line.replace('"$modaliasd_settle"', "60").split()
        parse(SYNTAXES[command], arguments)
    assert lines or path.name in {"notification-fd", "80-drivers.rules"}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: str(path.relative_to(SERVICES)))
def test_scripts_are_scripts(path: Path) -> None:
    """They can be executed, and a POSIX shell finds no mistake in them."""
    assert path.stat().st_mode & 0o111 == 0o111
    subprocess.run([require_program("sh"), "-n", path], check=True)


def test_s6_is_told_on_the_descriptor_that_it_opens() -> None:
    """The number in notification-fd is that of --ready-fd."""
    for service in (SERVICES / "s6").iterdir():
        number = (service / "notification-fd").read_text().strip()
        assert f"--ready-fd {number}\n" in (service / "run").read_text()


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_finds_nothing_wrong(unit: Path, tmp_path: Path) -> None:
    """`systemd-analyze verify` says nothing of the unit, but that the program is not installed here."""
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed")
    for other in UNITS:
        text = other.read_text().replace("=modaliasd ", "=/bin/true ")
        (tmp_path / other.name).write_text(text)
    done = subprocess.run(
        [program, "verify", "--man=no", str(tmp_path / unit.name)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert [line for line in done.stderr.splitlines() if "modaliasd" in line] == []


def test_the_wheel_has_them() -> None:
    """They are part of its data, beside what is documented."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    data = project["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]
    assert data["daemon/services"] == "share/modaliasd/services"
    documented = (PROJECT / "docs" / "full-systems.md").read_text(encoding="utf-8")
    assert "share/modaliasd/services" in documented
    for path in FILES:
        assert str(path.relative_to(SERVICES).parent) in documented
