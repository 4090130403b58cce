"""Modaliases as names of drivers: looked up in another kernel's modules.alias, collected from a capture."""

import json
from pathlib import Path

from hostbuild.arch import Arch
from hostbuild.errors import InputError
from hostbuild.formats.sniff import Kind, instead
from hostbuild.kernels import alias_index
from hostbuild.kernels.kernel import require_kernel
from hostbuild.ui import Reporter
from modaliasd.core.index import lookup


class KernelAliases:
    """Answers which modules a modalias wants; the kernel is fetched when the first question is asked."""

    def __init__(self, kernel: str | None, arch: Arch, report: Reporter) -> None:
        """Take the kernel as make-image's --kernel names it; None for Debian's of an architecture."""
        self._kernel = kernel or f"deb:{arch.facts.kernel}"
        self._report = report
        self._index: lookup.Index | None = None

    def __call__(self, modalias: str) -> list[str]:
        """Names of the modules whose aliases match, in load order."""
        if self._index is None:
            indexes = require_kernel(self._kernel, None, self._report).indexes
            self._index = lookup.Index(alias_index.build(*(_bytes(indexes, name) for name in _FILES)))
        return [match.module for match in self._index.lookup(modalias)]


_FILES = ("modules.alias", "modules.order", "modules.builtin.modinfo")


def read_modaliases(path: Path) -> tuple[str, ...]:
    """Read the modaliases of a file; InputError where it holds none."""
    try:
        found = parse_modaliases(path.read_text(encoding="utf-8", errors="surrogateescape"))
    except OSError as e:
        raise InputError(f"cannot read {path}: {e.strerror}") from e
    if not found:
        raise InputError(
            instead(path, Kind.CAPTURE, Kind.LEDGER, Kind.TEXT) or f"{path} holds no modalias",
            hint="name what `hostbuild capture -o FILE` wrote, a ledger, or a file with one modalias per line",
        )
    return found


def parse_modaliases(text: str) -> tuple[str, ...]:
    """Collect modaliases, each once: of a capture or a ledger (JSON, JSON lines), or written one a line."""
    found: dict[str, None] = {}
    try:
        documents = [json.loads(text)]
    except ValueError:
        documents = [_document(line.strip()) for line in text.splitlines()]
    for document in documents:
        _collect(document, found)
    return tuple(found)


def _document(line: str) -> object:
    if line.startswith("{"):
        try:
            return json.loads(line)
        except ValueError:
            return None
    return {"modalias": line} if ":" in line and not line.startswith("#") else None


def _collect(value: object, found: dict[str, None]) -> None:
    if isinstance(value, list):
        for item in value:
            _collect(item, found)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key.lower() == "modalias" and isinstance(item, str) and item:
                found[item] = None
            _collect(item, found)


def _bytes(directory: Path | None, name: str) -> bytes:
    path = directory / name if directory else None
    return path.read_bytes() if path and path.is_file() else b""
