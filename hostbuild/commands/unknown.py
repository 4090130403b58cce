"""A word on the command line that is no command: what was meant, or what takes the file that was named."""

from collections.abc import Iterable
from pathlib import Path

import click

from hostbuild.commands._common import with_common
from hostbuild.near import did_you_mean


def unknown_command(word: str, known: Iterable[str], ctx: click.Context) -> click.UsageError:
    """Make the error for a command that does not exist."""
    names = list(known)
    path = Path(word)
    if path.is_file():
        from hostbuild.formats.sniff import kind_of_file, use_of

        kind = kind_of_file(path)
        hint = use_of(path, kind)
        return click.UsageError(f"{word} is {kind.value}, not a command{f'; {hint}' if hint else ''}", ctx)
    near = did_you_mean(word, names) or f"; the commands are {', '.join(names)}"
    return click.UsageError(f"No such command {word!r}{near}", ctx)


class Group(click.Group):
    """A group of commands that proposes the near ones for a word that is none; each has what every command has."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of this name, None where there is none."""
        command = super().get_command(ctx, cmd_name)
        return command and with_common(command)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command of the first word."""
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            raise unknown_command(args[0], self.list_commands(ctx), ctx)
        return super().resolve_command(ctx, args)
