"""`make fuzz`: its command line works, and the number of examples that it asks for reaches every test."""

import re
import shlex
import subprocess
import sys

import pytest

from tests.support.places import PROJECT

# the tests of what is read of others' writing
PARSERS = (
    "guest/core/uevent/test_parse.py",
    "guest/core/kmod/test_modprobe_d.py",
    "guest/core/policy/test_rules.py",
    "guest/core/index/test_lookup.py",
    "guest/linux/test_control.py",
    "host/formats/test_newc.py",
)


def recipe() -> list[str]:
    """The arguments that `make fuzz` gives to pytest."""
    text = (PROJECT / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    found = re.search(r"^fuzz:.*\n\t\$\(BIN\)/pytest (.*)$", text, re.MULTILINE)
    assert found is not None, "the Makefile has no target fuzz that runs pytest"
    return shlex.split(found[1])


@pytest.mark.slow
def test_the_long_search_can_be_started() -> None:
    """With one example in place of the long profile's, each fuzz test runs, and each takes exactly that one."""
    arguments = recipe()
    assert "--hypothesis-profile=long" in arguments
    assert arguments[:2] == ["-n", "2"]
    short = [word.replace("=long", "=shortest") for word in arguments[2:]]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--hypothesis-show-statistics", *short],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    stopped = re.findall(r"Stopped because (.*)", done.stdout)
    assert len(stopped) >= len(PARSERS)
    assert set(stopped) <= {"settings.max_examples=1", "nothing left to do"}


@pytest.mark.slow
def test_every_reader_of_foreign_bytes_is_searched() -> None:
    """The readers of the outside's bytes are among what make fuzz searches."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "-q",
            "--collect-only",
            "-m",
            "fuzz",
            "tests",
        ],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=500,
        check=True,
    )
    files = {line.partition("::")[0] for line in done.stdout.splitlines() if "::" in line}
    assert {file for file in PARSERS if f"tests/{file}" not in files} == set()
