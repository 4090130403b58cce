"""The guest's command line: `COMMAND --help` of every command, wherever the word stands."""

import pytest

from micronetd import helper
from modaliasd import cli


@pytest.mark.parametrize("option", ["--help", "-h"])
@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_has_help(verb: str, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Help is on stdout, begins with the verb's usage, and ends with status 0; nothing else is done."""
    assert cli.main([verb, option]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith(f"usage: modaliasd {verb}")
    assert captured.out.endswith("\n")
    assert captured.err == ""


@pytest.mark.parametrize("line", ["coldplug --once --help", "coldplug --help --once", "run x --help"])
def test_help_counts_more_than_what_stands_beside_it(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever asks for help gets it, and no walk begins."""
    verb = line.partition(" ")[0]
    assert cli.main(line.split()) == 0
    assert capsys.readouterr().out.startswith(f"usage: modaliasd {verb}")


def test_the_overview_names_every_verb() -> None:
    """Each verb that people type stands in `modaliasd --help`; may-load is for scripts."""
    named = {line.split()[0] for line in cli.USAGE.splitlines() if line.startswith("  ") and line[2] != " "}
    assert named == cli.VERBS.keys() - {"may-load"}


def test_the_network_helper_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    """So does micronetd."""
    assert helper.main(["--help"]) == 0
    assert capsys.readouterr().out.startswith("usage: micronetd")
