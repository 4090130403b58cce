"""The types of options and arguments that are paths: what is read and what is written never are the same file.

Every path on a command line has one of these types. Each is compared with all others of the same command line as it is
read, also with the files that go with it (an image's manifest) and with standard output, if that is a file.
"""

import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import click

from hostbuild.errors import UsageError
from hostbuild.fs.files import check_output

_META = "hostbuild.paths"  # of click's context: what this command line has named so far

Beside = Callable[[Path], Iterable[Path]]


@dataclass(frozen=True, slots=True)
class _Named:
    """A path of the command line. option: how it was named there. inside: whatever is below it is read, too."""

    option: str
    path: Path
    written: bool
    inside: bool = False


def _nothing(_path: Path) -> Iterable[Path]:
    return ()


class InputPath(click.Path):
    """A file or a directory that is read. beside: files that are read with it."""

    def __init__(self, *, beside: Beside = _nothing, inside: bool = False) -> None:
        """inside: a directory that is read with all that is in it: nothing may be written there."""
        super().__init__(path_type=Path)
        self.beside = beside
        self.inside = inside

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> Path:
        """Return the path, once it is compared with the others."""
        path = Path(value)
        _name(ctx, [_Named(_shown(param), one, False, self.inside) for one in (path, *self.beside(path))])
        return path


class InputWord(click.ParamType[str]):
    """A word that may be a path which is read: NAME or a file. paths: those that the word names, if any."""

    name = "text"

    def __init__(self, paths: Callable[[str], Iterable[Path]] | None = None) -> None:
        self.paths = paths or (lambda word: [Path(word)])

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the word, once what it names is compared with the others."""
        _name(
            ctx, [_Named(_shown(param), path, False) for path in self.paths(value) if os.path.lexists(path)]
        )
        return value


class OutputPath(click.Path):
    """A file, or a directory, that is written. Where it cannot be, the command does not begin.

    what: its part in the work, for messages. beside: files that are written with it. directory: a directory is written.
    parents: those that are missing will be made.
    """

    def __init__(
        self, what: str, *, beside: Beside = _nothing, directory: bool = False, parents: bool = False
    ) -> None:
        super().__init__(path_type=Path)
        self.what = what
        self.beside = beside
        self.directory = directory
        self.parents = parents

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> Path:
        """Return the path, once it can be written to and is compared with the others."""
        path = Path(value)
        check_output(path, self.what, directory=self.directory, parents=self.parents)
        _name(ctx, [_Named(_shown(param), one, True) for one in (path, *self.beside(path))])
        return path


def _shown(param: click.Parameter | None) -> str:
    if param is None:
        return "a path"
    return param.opts[-1] if isinstance(param, click.Option) else param.human_readable_name.strip("[]")


def _name(ctx: click.Context | None, found: list[_Named]) -> None:
    """Compare paths with what has been named before. Raises UsageError where a file would be lost."""
    if ctx is None or ctx.resilient_parsing:
        return
    named: list[_Named] = ctx.meta.setdefault(_META, [_Named("standard output", Path("/dev/stdout"), True)])
    for new in found:
        for old in named:
            _compare(new, old)
    named += found


def _compare(one: _Named, other: _Named) -> None:
    if not (one.written or other.written):
        return
    if is_same(one.path, other.path):
        if one.written and other.written:
            raise UsageError(f"{other.option} and {one.option} would both write {one.path}")
        source, target = (other, one) if one.written else (one, other)
        raise UsageError(
            f"{target.option} would overwrite {source.path}, which {source.option} reads",
            hint="give the output another name",
        )
    for tree, target in ((one, other), (other, one)):
        if tree.inside and target.written and _is_inside(target.path, tree.path):
            raise UsageError(
                f"{target.option} would write {target.path} into {tree.path}, which {tree.option} reads as a whole",
                hint="write it elsewhere",
            )


def is_same(one: Path, other: Path) -> bool:
    """Tell whether two paths are one file or directory, by whatever links; what is no file (a pipe) is never lost."""
    try:
        first, second = one.stat(), other.stat()
    except OSError:  # one that is not there yet, or cannot be seen
        return os.path.realpath(one) == os.path.realpath(other)
    return os.path.samestat(first, second) and (stat.S_ISREG(first.st_mode) or stat.S_ISDIR(first.st_mode))


def _is_inside(path: Path, directory: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(directory))
