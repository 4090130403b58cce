"""formats/aptsources.py: both forms of apt's sources, and those of another release made of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostbuild.formats.aptsources import (
    Archive,
    Entry,
    parse_sources,
    parse_targets,
    sources_for,
    suites_of,
)

LINES = """\
# deb http://off.example bookworm main
deb [arch=amd64,arm64 signed-by=/k.gpg lang+=de] http://a.example/debian bookworm main contrib # the mirror
deb-src http://a.example/debian bookworm main
deb\thttp://a.example/security/\tbookworm-security\tmain
nonsense
"""
STANZAS = """\
# a comment
Types: deb deb-src
URIs: http://a.example/debian http://b.example/debian
# another
Suites: bookworm bookworm-updates
Components: main
Enabled: yes
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mDME

Types: deb
URIs: http://off.example
Suites: sid
Enabled: no

Types: deb-src
URIs: http://a.example/debian
Suites: sid
"""


def test_lines_are_read() -> None:
    """Options get the names that deb822 has for them; comments, sources and nonsense are passed over."""
    options = {"Architectures": "amd64 arm64", "Signed-By": "/k.gpg"}
    assert parse_sources(LINES, deb822=False) == [
        Entry(("http://a.example/debian",), ("bookworm",), options),
        Entry(("http://a.example/security/",), ("bookworm-security",), {}),
    ]


def test_stanzas_are_read() -> None:
    """Several URIs and suites, comments between fields, a key of several lines; what is off or has no packages goes."""
    [entry] = parse_sources(STANZAS, deb822=True)
    assert entry.uris == ("http://a.example/debian", "http://b.example/debian")
    assert entry.suites == ("bookworm", "bookworm-updates")
    key = "\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mDME"
    assert entry.options == {"Signed-By": key}


def test_archives_of_the_own_release() -> None:
    """One for each pocket, the first that apt names; other vendors', other components and sources are left out."""
    text = """\
Debian|bookworm|oldstable|main|http://a/|Packages
Debian|bookworm|oldstable|contrib|http://c/|Packages
Debian|bookworm|oldstable|main|http://b/|Packages
Debian|bookworm-security|bookworm-security|main|http://s/|Packages
Debian|bookworm-updates|bookworm-updates|main|http://a/|Sources
Other|nodistro|nodistro|main|http://n/|Packages
$(ORIGIN)|$(CODENAME)|bookworm-updates|main|http://u/|Packages
short|line
"""
    assert parse_targets(text, "bookworm") == [
        Archive("", "http://a/", "oldstable", "bookworm"),
        Archive("security", "http://s/", "bookworm-security", "bookworm-security"),
        Archive("updates", "http://u/", "bookworm-updates", "bookworm-updates"),
    ]


@pytest.mark.parametrize(
    ("release", "suites"),
    [
        ("trixie", ["trixie", "trixie-updates", "trixie-security"]),
        ("sid", ["sid"]),
        ("experimental", ["experimental", "sid"]),
        ("bookworm-backports", ["bookworm-backports", "bookworm", "bookworm-updates", "bookworm-security"]),
        ("trixie-security", ["trixie-security", "trixie", "trixie-updates"]),
    ],
)
def test_suites(release: str, suites: list[str]) -> None:
    """A release comes with its pockets, and what builds upon a release with that."""
    assert [suite for _, suite in suites_of(release)] == suites


def test_the_sources_of_another_release() -> None:
    """This machine's mirrors and keys, with the other's suites; what is known not to exist is left out."""
    archives = [
        Archive("", "http://a.example/debian/", "bookworm", "bookworm"),
        Archive("security", "http://a.example/security/", "bookworm-security", "bookworm-security"),
    ]
    entries = parse_sources(LINES, deb822=False)
    text = sources_for("trixie", archives, entries, without=["trixie-updates"])
    assert parse_sources(text, deb822=True) == [
        Entry(("http://a.example/debian/",), ("trixie",), entries[0].options),
        Entry(("http://a.example/security/",), ("trixie-security",), {}),
    ]
    assert sources_for("trixie", [], entries) == ""


@given(
    st.text(alphabet="deb [signed-by=x] http://a sid main\n#:.\tTypesURIsSuites-", max_size=200),
    st.booleans(),
)
def test_any_text(text: str, deb822: bool) -> None:
    """No file of sources makes the reader fail."""
    for entry in parse_sources(text, deb822=deb822):
        assert "Types" not in entry.options
    parse_targets(text, "sid")
