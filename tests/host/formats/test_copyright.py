"""formats/copyright.py: the licences that Debian's copyright files name."""

from hypothesis import given
from hypothesis import strategies as st

from hostbuild.formats.copyright import parse_licences

MACHINE = """Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: x

Files: *
Copyright: 2020 A
License: LGPL-2.1+

Files: debian/*
License: Expat or GPL-2+
 Permission is hereby granted
 License: not a field

License: LGPL-2.1+
 The text, see /usr/share/common-licenses/LGPL-2.1

License:
 a text without a name
"""


def test_a_machine_readable_file() -> None:
    """Each short name once, alternatives together; no text."""
    assert parse_licences(MACHINE) == ("Expat or GPL-2+", "LGPL-2.1+")


def test_a_file_in_free_form() -> None:
    """What it refers to of the common licences, told apart from short names; `License:` there is prose."""
    text = "License: see\n`/usr/share/common-licenses/GPL-2'. And /usr/share/common-licenses/LGPL-2.1.\n"
    assert parse_licences(text) == ("common-licenses/GPL-2", "common-licenses/LGPL-2.1")
    assert parse_licences("") == ()


@given(st.text())
def test_any_text_has_an_answer(text: str) -> None:
    """Names are single lines, each once."""
    for prefix in ("", MACHINE[:90] + "\n"):
        names = parse_licences(prefix + text)
        assert list(names) == sorted(set(names))
        assert not any("\n" in name for name in names)
