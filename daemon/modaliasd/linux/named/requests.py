"""Reads who had the kernel ask for a module: what /usr/lib/micro/request-module writes down before it inserts any.

    char-major-10-237<TAB>loop<TAB>losetup (pid 123)

A line a request: the kernel's word, the modules that it stood for, dependencies first, and the tasks that waited for
the kernel's helper then. It is nearly always one; where two requests are under way, both tasks are named for both.
"""

from __future__ import annotations

import posix

from modaliasd.core.loading.cause import Cause
from modaliasd.linux.config import read_text

MOST = 1 << 16  # bytes; a file that has grown beyond is begun anew
UNKNOWN = "a task that had gone"


def find_request(module: str, path: str) -> Cause | None:
    """Why the kernel had this module inserted, by the last request that names it; None where none does."""
    try:
        text = read_text(path)
        if len(text) > MOST:
            posix.truncate(path, 0)
    except OSError:
        return None
    for line in reversed(text.split("\n")):
        word, _, rest = line.partition("\t")
        names, tab, who = rest.partition("\t")
        modules = names.replace("-", "_").split()
        if not tab or module not in modules:
            continue
        if module != modules[-1]:
            return Cause(module=modules[-1])
        return Cause(request=f"the kernel, for {who or UNKNOWN}", alias=word)
    return None
