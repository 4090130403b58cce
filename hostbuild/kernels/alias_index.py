"""The index of a kernel's aliases, as the daemon reads it: made once for the same tables.

Of all of Debian's modules it takes a second (modaliasd's core/index/build.py).
"""

import os

from hostbuild.fs import answers
from modaliasd.core import index
from modaliasd.core import kmod as parsers
from modaliasd.core.index import lookup

_CODE = [os.path.dirname(package.__file__ or "") for package in (index, parsers)]


def build(alias: bytes, order: bytes, builtin: bytes) -> bytes:
    """Give the index of modules.alias, modules.order and modules.builtin.modinfo. Raises as build_index does."""
    tables = (alias, order, builtin)
    return answers.values(code(), ["index", *map(answers.digest, tables)], lambda: lookup.build(*tables))


def code() -> str:
    """Give a digest of the code that makes indexes."""
    return answers.code_of(*_CODE)
