"""The tables of frozen modules."""

import re

from hostbuild.pybuild.compiling import array
from hostbuild.pybuild.link import Frozen, Linkage, frozen_c, question

FROZEN = [
    Frozen("importlib._bootstrap", b"abc", is_package=False),
    Frozen("encodings", b"defgh", is_package=True),
    Frozen("encodings.ascii", b"i", is_package=False),
]


def test_each_module_has_its_bytes() -> None:
    """A row says where a module's code lies among all of it, how long it is, and whether it is a package."""
    together = b"".join(one.code for one in FROZEN)
    rows = re.findall(
        r'\.name = "([^"]+)", \.code = frozen_code \+ (\d+), \.size = (\d+), \.is_package = (\d)',
        frozen_c(FROZEN),
    )
    found = {name: (together[int(at) : int(at) + int(size)], flag == "1") for name, at, size, flag in rows}
    assert found == {one.name: (one.code, one.is_package) for one in FROZEN} | {
        "_frozen_importlib": (b"abc", False)  # what CPython imports it as
    }
    assert [name for name, *_ in rows][1:] == [one.name for one in FROZEN]  # the order is the caller's


def test_what_a_linked_program_depends_on() -> None:
    """Another build, other code, another name, other modules in C, another linkage: each is another question."""
    asked = {
        question("a", FROZEN, ["array"]),
        question("b", FROZEN, ["array"]),
        question("a", FROZEN, []),
        question("a", FROZEN[1:], ["array"]),
        question("a", FROZEN, ["array"], Linkage.LOADING),
        question("a", FROZEN, ["array"], Linkage.EXPORTING),
        question("a", [*FROZEN[:2], Frozen("encodings.ascii", b"j", is_package=False)], ["array"]),
    }
    assert len(asked) == 7
    assert question("a", FROZEN, ["b", "a"]) == question("a", FROZEN, ["a", "b"])


def test_an_array_in_c() -> None:
    """The bytes of a header as CPython writes it."""
    assert (
        array("/* Auto-generated */\nconst unsigned char _Py_M__x[] = {\n    99,0,255,\n    1,\n};\n")
        == b"c\x00\xff\x01"
    )
