"""Failures that end at the test's own line: what a guest could not do, without the way through hostbuild's inside."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from hostbuild.errors import GuestError, HostbuildError

_P = ParamSpec("_P")
_R = TypeVar("_R")


def readable(method: Callable[_P, _R]) -> Callable[_P, _R]:
    """Have the errors of a method come from the line that called it; a hint becomes a note, which pytest shows."""

    @functools.wraps(method)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        __tracebackhide__ = True
        error: BaseException
        try:
            return method(*args, **kwargs)
        except (HostbuildError, AssertionError) as e:
            error = e
        if isinstance(error, GuestError):
            error.console = ""  # the report has a section of it
        if isinstance(error, HostbuildError) and error.hint:
            error.add_note(f"hint: {error.hint}")
        # Here, outside of the except clause, it has no context that would be shown as well.
        error.__cause__ = error.__context__ = None
        raise error.with_traceback(None)

    return call


def words_of(error: HostbuildError) -> str:
    """Return an error as text: what happened, and the hint."""
    return f"{error}\nhint: {error.hint}" if error.hint else str(error)
