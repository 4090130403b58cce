"""hostbuild why: asks a detached guest why a module was loaded."""

import click

from hostbuild.commands import _options
from hostbuild.commands.guests._common import run_in


@click.command("why")
@_options.guest_name
@click.argument("module")
@_options.as_json("the answer")
def command(name: str, module: str, as_json: bool) -> int:
    """Say why MODULE was loaded in the detached guest NAME, or why it was not.

    The same as `hostbuild exec NAME -- modaliasd why MODULE`.
    """
    return run_in(name, ["modaliasd", "why", *(["--json"] if as_json else []), "--", module])
