"""Which images take an interpreter of our own that loads libraries while it runs (`--python build`)."""

from pathlib import Path

import pytest

from hostbuild.image.sources.extras import Extra
from hostbuild.image.sources.overlay import Overlay, read_overlay
from hostbuild.image.sources.own import linkage_of
from hostbuild.pybuild.link import Linkage


def laid(directory: Path, name: str, text: str) -> list[Overlay]:
    """An overlay of one file."""
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return [read_overlay(directory)]


@pytest.mark.parametrize(
    ("extras", "names", "linkage"),
    [
        ((), (), Linkage.STATIC),
        ((Extra.ROOT, Extra.LVM), ("decimal", "asyncio"), Linkage.STATIC),
        ((Extra.AUDIT,), (), Linkage.LOADING),
        ((Extra.ROOT, Extra.NETWORK), (), Linkage.LOADING),
        ((), ("ctypes",), Linkage.LOADING),
        ((), ("json", "ctypes.util"), Linkage.LOADING),
        ((), ("ctypesx",), Linkage.STATIC),
    ],
)
def test_what_asks(extras: tuple[Extra, ...], names: tuple[str, ...], linkage: Linkage) -> None:
    """Extras whose packages load libraries do, and ctypes by name; nothing else."""
    assert linkage_of(extras, names, []) is linkage


@pytest.mark.parametrize(
    ("name", "text", "linkage"),
    [
        ("usr/bin/x", "#!/usr/bin/python3\nimport os\n", Linkage.STATIC),
        ("usr/bin/x", "#!/usr/bin/python3\ndef f():\n    from ctypes import CDLL\n", Linkage.LOADING),
        ("usr/lib/x.py", "import ctypes.util\n", Linkage.LOADING),
        ("usr/lib/x.py", "import ctypes = 1\n", Linkage.STATIC),
        ("usr/bin/x", "#!/bin/sh\nimport ctypes\n", Linkage.STATIC),
        ("usr/lib/x.cpython-311-x86_64-linux-gnu.so", "", Linkage.EXPORTING),
        ("usr/lib/x.abi3.so", "", Linkage.EXPORTING),
        ("usr/lib/libx.so", "", Linkage.STATIC),
    ],
)
def test_what_an_overlay_asks(tmp_path: Path, name: str, text: str, linkage: Linkage) -> None:
    """A script that imports ctypes, wherever the import stands; a module in C by its name."""
    assert linkage_of((), (), laid(tmp_path, name, text)) is linkage
