"""hostbuild exec: runs a command in a detached guest."""

import click

from hostbuild.commands import _options
from hostbuild.commands.guests._common import run_in

_EPILOG = """The command's output is here, its standard input is ours unless that is a terminal, Ctrl-C and other
signals go to it, and its exit status is ours. Several may run at a time.

\b
Examples:
  hostbuild exec box -- dmesg
  hostbuild exec box -- sh -c 'cat > /tmp/x' < file
  hostbuild exec box --tty -- top
"""


@click.command("exec", epilog=_EPILOG)
@_options.guest_name
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND ARG...")
@_options.cwd
@click.option("--tty", is_flag=True, help="Give the command this terminal: for editors, pagers, top.")
def command(name: str, words: tuple[str, ...], cwd: str | None, tty: bool) -> int:
    """Run COMMAND in the detached guest NAME and end with its exit status."""
    return run_in(name, words, cwd, tty=tty)
