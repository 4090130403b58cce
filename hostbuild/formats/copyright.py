"""The licences that a Debian package's copyright file names (debian/copyright, machine-readable format 1.0). Pure.

    Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
    Files: *
    License: LGPL-2.1+ or Expat

Of a file in free form only what it says of /usr/share/common-licenses is taken, as `common-licenses/GPL-2`: whether
later versions count as well stands in its prose.
"""

import re

_MACHINE_READABLE = re.compile(r"\s*Format: \S*/copyright-format/1\.\d", re.IGNORECASE)
_LICENCE = re.compile(r"^License:[ \t]*(\S[^\n]*)$", re.MULTILINE)
_COMMON = re.compile(r"/usr/share/common-licenses/([A-Za-z0-9][A-Za-z0-9.-]*[A-Za-z0-9])")
_LONGEST = 200  # of a name; what is longer is the licence's text


def parse_licences(text: str) -> tuple[str, ...]:
    """Return the short names of the licences, sorted, each once; () where the file names none."""
    if _MACHINE_READABLE.match(text):
        names = {name.strip() for name in _LICENCE.findall(text)}
        return tuple(sorted(name for name in names if len(name) <= _LONGEST))
    return tuple(f"common-licenses/{name}" for name in sorted(set(_COMMON.findall(text))))
