"""A bill of materials as a value, before any format: what an image holds, each part with what is known of it. Pure.

Nothing here depends on the clock or on the place: the same image gives the same bill, and the same number.
"""

import hashlib
import uuid
from dataclasses import dataclass, field
from enum import Enum

_SPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://cyclonedx.org/modaliasd/hostbuild")


class Kind(Enum):
    """What a part is."""

    IMAGE = "image"
    KERNEL = "kernel"
    PACKAGE = "package"  # Debian's
    PYTHON = "python"  # a package of the environment that hostbuild runs in
    MODULE = "module"
    FIRMWARE = "firmware"
    PROGRAM = "program"  # hostbuild's own
    OVERLAY = "overlay"
    APPENDED = "appended"  # an image behind the image


@dataclass(frozen=True, slots=True)
class Licence:
    """A licence. name: as its source has it. expression: in SPDX's words, "" where these have none for it."""

    name: str
    expression: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of an image.

    id: unique in the bill, of letters, digits, dots and dashes. version: "" where nobody knows. licences: all count
    together. purl: a package URL, "" for what has none. sha256: of the .deb, the file, or the overlay. facts: name ->
    text. needs: the ids of the parts that it depends on.
    """

    kind: Kind
    id: str
    name: str
    version: str = ""
    sha256: str = ""
    purl: str = ""
    licences: tuple[Licence, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Bill:
    """What an image holds. tool: hostbuild's version. epoch: seconds since 1970, SOURCE_DATE_EPOCH or 0."""

    image: Part
    parts: tuple[Part, ...] = field(default=())
    tool: str = ""
    epoch: int = 0

    @property
    def serial(self) -> uuid.UUID:
        """A number that follows from the content: the same for the same bill, another for any other."""
        return uuid.uuid5(_SPACE, hashlib.sha256(repr(self).encode("utf-8", "backslashreplace")).hexdigest())
