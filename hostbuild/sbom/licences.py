"""Licences in SPDX's words, from those of Debian's copyright files and of modules' MODULE_LICENSE. Pure.

Sources: Debian's copyright format 1.0, "License short name"; the kernel's Documentation/process/license-rules.rst,
"MODULE_LICENSE", by which `GPL` and `GPL v2` say the same, and which leaves open which BSD or MPL a dual licence means.
What has no word of SPDX's keeps its name.
"""

import re

from hostbuild.sbom.bill import Licence

KERNEL = Licence("GPL-2", "GPL-2.0-only WITH Linux-syscall-note")
OURS = Licence("MIT", "MIT")

_GNU = re.compile(r"(?P<name>[AL]?GPL|GFDL)-(?P<major>\d)(?:\.(?P<minor>\d))?(?:\.0)?(?P<later>\+)?")
_GNU_VERSIONS = {
    "GPL": ("1.0", "2.0", "3.0"),
    "LGPL": ("2.0", "2.1", "3.0"),
    "AGPL": ("1.0", "3.0"),
    "GFDL": ("1.1", "1.2", "1.3"),
}
_SAME = (  # by SPDX's names, whatever their case
    "0BSD",
    "Apache-2.0",
    "Artistic-1.0",
    "Artistic-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSD-4-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "FSFAP",
    "FSFUL",
    "FSFULLR",
    "ISC",
    "MIT",
    "MPL-1.1",
    "MPL-2.0",
    "OFL-1.1",
    "OpenSSL",
    "PSF-2.0",
    "Unlicense",
    "X11",
    "Zlib",
    "curl",
)
_SPDX = {name.lower(): name for name in _SAME} | {
    "expat": "MIT",
    "artistic": "Artistic-1.0",
    "psf-2": "PSF-2.0",
    "cc0": "CC0-1.0",
}
_SYSCALL_NOTE = re.compile(r"GPL-2 with Linux-syscall-note exception", re.IGNORECASE)
_MODULE = {
    "GPL": "GPL-2.0-only",
    "GPL v2": "GPL-2.0-only",
    "Dual MIT/GPL": "MIT OR GPL-2.0-only",
}


def debian_licence(name: str) -> Licence:
    """Return the licence that a copyright file calls by a name, or by several with `or` and `and`."""
    expression = _alternatives(name)
    return Licence(name, expression)


def module_licence(text: str) -> Licence:
    """Return the licence that a module's .modinfo names."""
    return Licence(text, _MODULE.get(text, ""))


def together(licences: tuple[Licence, ...]) -> str:
    """Return one expression for licences that all count; "" where SPDX has no words for one, or there is none."""
    words = dict.fromkeys(licence.expression for licence in licences)
    if not words or "" in words:
        return ""
    return " AND ".join(f"({one})" if " OR " in one and len(words) > 1 else one for one in words)


def _alternatives(name: str) -> str:
    if _SYSCALL_NOTE.fullmatch(name):
        return KERNEL.expression
    either = [_all_of(part) for part in re.split(r",? or ", name)]
    if not all(either):
        return ""
    return " OR ".join(
        f"({one})" if " AND " in one and len(either) > 1 else one for one in dict.fromkeys(either)
    )


def _all_of(name: str) -> str:
    each = [_single(part.strip()) for part in re.split(r",? and |, ", name)]
    return " AND ".join(dict.fromkeys(each)) if all(each) else ""


def _single(name: str) -> str:
    if (found := _GNU.fullmatch(name)) is not None:
        version = f"{found['major']}.{found['minor'] or '0'}"
        if version in _GNU_VERSIONS[found["name"]]:
            return f"{found['name']}-{version}-{'or-later' if found['later'] else 'only'}"
    return _SPDX.get(name.lower(), "")
