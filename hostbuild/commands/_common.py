"""What every command has: --quiet, --debug, --show-config, and the defaults of hostbuild.toml."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from hostbuild import log, ui
from hostbuild.configfile import Config, Option, find_config, parse_config
from hostbuild.fs.files import read_input
from hostbuild.fs.path_types import InputPath, InputWord, OutputPath

_META = "hostbuild.config"  # of click's context: the file that was read
_ARGS = "hostbuild.args"  # the command's own words
_COMMON = {"quiet", "debug", "show_config", "help"}


def with_common(command: click.Command) -> click.Command:
    """Add the options that every command has; a group's commands get theirs when they are asked for."""
    if isinstance(command, click.Group) or any(one.name == "show_config" for one in command.params):
        return command
    command.params += [
        click.Option(["--quiet"], is_flag=True, expose_value=False, callback=quiet, help="No progress, no remarks."),
        click.Option(
            ["--debug"], is_flag=True, expose_value=False, callback=debug, is_eager=True,
            help="Log to stderr what is done: commands run, files read, QEMU's monitor.",
        ),
        click.Option(
            ["--show-config"], is_flag=True, expose_value=False, callback=_show, is_eager=True,
            help="Print the options in effect, and where each comes from.",
        ),
    ]  # fmt: skip
    parse = command.parse_args

    def parse_args(ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_ARGS] = own = args[: args.index("--")] if "--" in args else list(args)
        if "--debug" in own:  # whatever stands before it, and ends the command, is told of as well
            log.enable()
        try:
            return parse(ctx, args)
        except click.BadParameter as e:
            whose = _whose(ctx, e.param)
            if not whose:
                raise
            raise click.BadParameter(e.message + whose, e.ctx, e.param, e.param_hint) from e

    command.parse_args = parse_args  # type: ignore[method-assign]
    return command


def own_words(ctx: click.Context) -> list[str]:
    """Return the words of the command line behind the command's name, up to `--`."""
    return list(ctx.meta.get(_ARGS, ()))


def load_config(ctx: click.Context, group: click.Group, named: Path | None) -> None:
    """Read hostbuild.toml and have its values stand behind those of the command line. Raises InputError."""
    path = named or find_config(Path.cwd())
    if path is None:
        return
    text = read_input(path, "the configuration").decode("utf-8", "replace")
    config = parse_config(text, path.absolute(), {name: _options(one) for name, one in _commands(group)})
    ctx.meta[_META] = config
    ctx.default_map = config.default_map()


def _commands(group: click.Group, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from _commands(command, f"{prefix}{name} ")
        elif command is not None:
            yield f"{prefix}{name}", command


def _options(command: click.Command) -> list[Option]:
    return [
        Option(
            parameter=str(one.name),
            long=_long(one),
            multiple=one.multiple,
            is_flag=one.is_flag,
            is_number=isinstance(one.type, click.IntRange | click.FloatRange),
            is_path=isinstance(one.type, InputPath | OutputPath | InputWord),
        )
        for one in command.params
        if isinstance(one, click.Option) and one.name not in _COMMON and one.expose_value
    ]


def _long(option: click.Option) -> str:
    return max(option.opts, key=len).lstrip("-")


def quiet(_ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    """Leave progress and remarks out, if that is wanted."""
    if wanted:
        ui.be_quiet()


def debug(_ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    """Log what is done, if that is wanted."""
    if wanted:
        log.enable()


def _show(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    """Print every option, its value and its source. What the command line lacks is no error here."""
    if not wanted or ctx.resilient_parsing:
        return
    command = ctx.command
    args = [word for word in ctx.meta[_ARGS] if word != "--show-config"]
    seen = command.make_context(ctx.info_name, args, parent=ctx.parent, resilient_parsing=True)
    config: Config | None = ctx.meta.get(_META)
    name = ctx.command_path.partition(" ")[2]
    rows = []
    for option in command.params:
        if not isinstance(option, click.Option) or option.name in _COMMON or not option.expose_value:
            continue
        source = seen.get_parameter_source(str(option.name))
        rows.append(
            (_long(option), _value(seen.params.get(str(option.name))), _source(source, config, name, option))
        )
    if config is not None:
        ui.line(f"# {config.path}")
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)] if rows else [0, 0]
    for long, value, where in rows:
        ui.line(f"{long:{widths[0]}}  {value:{min(widths[1], 40)}}  {where}".rstrip())
    ctx.exit()


def _whose(ctx: click.Context, param: click.Parameter | None) -> str:
    """Say that a value stands in the file, if that is where it comes from."""
    config: Config | None = ctx.meta.get(_META)
    if config is None or param is None or any(word.split("=")[0] in param.opts for word in ctx.meta[_ARGS]):
        return ""
    place = config.places.get((ctx.command_path.partition(" ")[2], str(param.name)))
    return f" (in {config.path}: {place})" if place else ""


def _source(source: ParameterSource | None, config: Config | None, command: str, option: click.Option) -> str:
    if source is ParameterSource.DEFAULT_MAP and config is not None:
        return f"{config.path.name}: {config.places.get((command, str(option.name)), '')}"
    if source is ParameterSource.COMMANDLINE:
        return "the command line"
    return ""


def _value(value: Any) -> str:  # noqa: ANN401
    if value is None or value == () or value == "":
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(str, value)) + "]"
    return str(value)
