"""sbom/licences.py: Debian's and modules' names of licences in SPDX's words, which SPDX's own list knows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from license_expression import get_spdx_licensing

from hostbuild.sbom.bill import Licence
from hostbuild.sbom.licences import KERNEL, OURS, debian_licence, module_licence, together

DEBIAN = {
    "GPL-2": "GPL-2.0-only",
    "GPL-2+": "GPL-2.0-or-later",
    "GPL-3.0+": "GPL-3.0-or-later",
    "LGPL-2": "LGPL-2.0-only",
    "LGPL-2.1+": "LGPL-2.1-or-later",
    "GFDL-1.3": "GFDL-1.3-only",
    "Expat": "MIT",
    "BSD-3-clause": "BSD-3-Clause",
    "Zlib": "Zlib",
    "MPL-1.1 or GPL-2+ or LGPL-2.1+": "MPL-1.1 OR GPL-2.0-or-later OR LGPL-2.1-or-later",
    "GPL-2+ and Expat": "GPL-2.0-or-later AND MIT",
    "GPL-2+ and Expat, or Artistic": "(GPL-2.0-or-later AND MIT) OR Artistic-1.0",
    "GPL-2 with Linux-syscall-note exception": "GPL-2.0-only WITH Linux-syscall-note",
    "GPL": "",
    "GPL-7": "",
    "BSD-variant": "",
    "Expat or public-domain": "",
    "common-licenses/GPL-2": "",
    "": "",
}
KNOWN = get_spdx_licensing()
MODULES = {"GPL": "GPL-2.0-only", "GPL v2": "GPL-2.0-only", "Dual MIT/GPL": "MIT OR GPL-2.0-only"}
MODULES |= {"Dual BSD/GPL": "", "GPL and additional rights": "", "Proprietary": ""}


@pytest.mark.parametrize("name", DEBIAN)
def test_debians_names(name: str) -> None:
    """Where SPDX has no word for one of several, none is made up for all."""
    assert debian_licence(name) == Licence(name, DEBIAN[name])


@pytest.mark.parametrize("name", MODULES)
def test_modules_names(name: str) -> None:
    """Which BSD a dual licence means, MODULE_LICENSE does not say."""
    assert module_licence(name) == Licence(name, MODULES[name])


def test_all_together() -> None:
    """Alternatives are put into brackets; one licence without an expression leaves none for all."""
    either = debian_licence("Expat or GPL-2+")
    assert together((either, OURS)) == "(MIT OR GPL-2.0-or-later) AND MIT"
    assert together((either,)) == "MIT OR GPL-2.0-or-later"
    assert together((OURS, Licence("x"))) == together(()) == ""


@given(
    st.lists(st.sampled_from([*DEBIAN, *MODULES]), min_size=1, max_size=4).map(" or ".join)
    | st.text(max_size=30)
)
def test_spdx_knows_every_word(name: str) -> None:
    """Whatever a package says, the expression for it is one by SPDX's list, and is valid."""
    for licence in (debian_licence(name), module_licence(name), KERNEL):
        if licence.expression:
            assert KNOWN.validate(licence.expression, strict=True).errors == []
