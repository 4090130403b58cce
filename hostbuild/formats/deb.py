"""Where the files of a Debian package lie in it: deb(5), an archive as ar(5) has it of three members. Pure.

!<arch>\\n
debian-binary       2.0
control.tar[.*]     about the package
data.tar[.*]        its files; then perhaps members whose names begin with _
"""

from collections.abc import Callable

_MAGIC = b"!<arch>\n"
_HEADER_SIZE, _END = 60, b"`\n"
_NAME, _SIZE = slice(0, 16), slice(48, 58)
_FIRST, _FILES = b"debian-binary", b"data.tar"
_MOST_MEMBERS = 16  # deb(5) knows three


class DebError(ValueError):
    """Not a Debian package, or a damaged one. The text goes on from "it"."""


def place_of_files(read: Callable[[int, int], bytes], end: int) -> tuple[int, int]:
    """Return where in a package the tar archive of its files begins, packed as it is, and its length. Raises DebError.

    read: gives so many bytes from a place on, fewer at the end. end: the package's length.
    """
    if read(0, len(_MAGIC)) != _MAGIC:
        raise DebError("is not a Debian package")
    place = len(_MAGIC)
    for number in range(_MOST_MEMBERS):
        header = read(place, _HEADER_SIZE)
        size = header[_SIZE].strip()
        if len(header) < _HEADER_SIZE or not header.endswith(_END) or not size.isdigit():
            break
        begin, length = place + _HEADER_SIZE, int(size)
        name = header[_NAME].rstrip(b" ").rstrip(b"/")  # as GNU's ar ends it
        if (name == _FIRST) != (number == 0):
            raise DebError(f"is not a Debian package: {_FIRST.decode()} is not its first member")
        if begin + length > end:
            raise DebError("is cut short")
        if name == _FILES or name.startswith(_FILES + b"."):
            return begin, length
        place = begin + length + length % 2
    raise DebError("is damaged, or has no data.tar")
