"""Reads a machine's devices from what holds them: a capture, a ledger, a recording of umockdev's, a device tree."""

from pathlib import Path

from hostbuild.errors import InputError
from hostbuild.formats.devicetree.blob import MAGIC, parse_blob
from hostbuild.formats.sniff import Kind, instead, require_there, use_of
from hostbuild.fs.files import read_input
from hostbuild.ledger.file import read_history
from hostbuild.predict.capture import Capture, capture_of_history, parse_capture, parse_umockdev
from hostbuild.predict.devicetree import capture_of_tree


def read_capture(path: Path) -> Capture:
    """Read the file, whose content says what it is. Raises InputError."""
    require_there(path, "capture or ledger")
    if other := instead(path, Kind.CAPTURE, Kind.LEDGER, Kind.DEVICETREE, Kind.TEXT, Kind.EMPTY):
        raise InputError(other, hint=use_of(path))
    data = read_input(path, "the capture")
    if data.startswith(MAGIC):
        return _of_tree(path, data)
    text = data.decode("utf-8", "surrogateescape")
    if text.startswith(("P: ", "@")):
        return parse_umockdev(text)
    first = text.partition("\n")[0]
    if '"capture"' in first:
        return parse_capture(text, str(path))
    if first.startswith("{"):
        return capture_of_history(read_history(path))
    raise InputError(
        f"{path} is not a capture, a ledger or a umockdev recording",
        hint="hostbuild capture -o FILE makes a capture",
    )


def _of_tree(path: Path, data: bytes) -> Capture:
    try:
        capture = capture_of_tree(parse_blob(data))
    except InputError as e:
        raise InputError(f"{path} is {e}", hint="dtc -I dtb -O dts shows what can be read of it") from e
    if not capture.devices:
        raise InputError(f"{path} has no device: no enabled node has a compatible")
    return capture
