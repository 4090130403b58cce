"""The manual pages say what the commands do now, and roff has nothing against them."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from hostbuild.main import hostbuild
from scripts.man_pages import PLACE, main, pages

PAGES = sorted(PLACE.glob("*.1"))


def test_the_pages_are_those_of_the_commands() -> None:
    """Whoever changes an option's help runs `make man`: the pages in docs/man are what it would write."""
    assert {path.name: path.read_text(encoding="utf-8") for path in PAGES} == dict(pages())


def test_pages_of_commands_that_are_gone_go(tmp_path: Path) -> None:
    """Nobody reads of a command that is no more."""
    (tmp_path / "hostbuild-old.1").touch()
    main(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [path.name for path in PAGES]


def test_groff_warns_of_nothing() -> None:
    """No request that it does not know, no escape left open: `groff -ww`."""
    if shutil.which("groff") is None:
        pytest.skip("groff is not installed (apt-get install groff-base): it is to check the pages")
    done = subprocess.run(
        ["groff", "-man", "-ww", "-z", "-Tutf8", *PAGES],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("page", "told"),
    [
        ("modaliasd.1", "modaliasd why /dev/vda"),
        ("modaliasd.1", "--ready-fd N"),
        ("hostbuild.1", "hostbuild-make-image(1)"),
        ("hostbuild-kernel-check.1", "hostbuild-kernel(1)"),
        ("hostbuild-run.1", "--share"),
    ],
)
def test_what_a_reader_sees(page: str, told: str) -> None:
    """Examples, options and references arrive as they were written, whatever roff makes of hyphens and quotes."""
    if shutil.which("groff") is None:
        pytest.skip("groff is not installed (apt-get install groff-base): it is to print the pages")
    done = subprocess.run(
        ["groff", "-man", "-Tascii", "-P-cbou", PLACE / page],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert told in done.stdout


def _helps(command: click.Command, ctx: click.Context) -> Iterator[tuple[str, str]]:
    yield ctx.command_path, command.get_help(ctx)
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            below = command.get_command(ctx, name)
            assert below is not None
            yield from _helps(below, click.Context(below, info_name=name, parent=ctx, terminal_width=80))


def test_help_fits_a_terminal() -> None:
    """On 80 columns no line of any command's help is wider: neither what click folds, nor examples, which it leaves."""
    found = dict(_helps(hostbuild, click.Context(hostbuild, info_name="hostbuild", terminal_width=80)))
    assert len(found) >= 30
    wide = {name: [line for line in text.splitlines() if len(line) > 80] for name, text in found.items()}
    assert {name: lines for name, lines in wide.items() if lines} == {}
