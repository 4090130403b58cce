"""The command line's words of encrypted disks: core/root/luks.py."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modaliasd.core.root.luks import is_safe_uuid, parse_luks

UUID = "11111111-2222-3333-4444-555555555555"
OTHER = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"


def test_without_words_every_disk_is_opened() -> None:
    """As luks-UUID, with no key of its own; rd.luks=0 opens none."""
    words = parse_luks("root=/dev/sda1 quiet")
    assert words.wants(UUID)
    assert words.name_of(UUID) == f"luks-{UUID}"
    assert words.key_of(UUID) == ""
    assert not parse_luks("rd.luks=0").wants(UUID)


def test_named_disks_are_the_only_ones() -> None:
    """By rd.luks.uuid= or rd.luks.name=, in either case of letters; the name is that below /dev/mapper."""
    words = parse_luks(f"rd.luks.uuid=luks-{UUID} rd.luks.name={OTHER.upper()}=root")
    assert words.wants(UUID)
    assert words.wants(OTHER)
    assert not words.wants("99999999" + UUID[8:])
    assert words.name_of(OTHER) == "root"


def test_keys() -> None:
    """A key for one disk comes before that for all."""
    words = parse_luks(f"rd.luks.key=/any.key rd.luks.key={UUID}=/own.key")
    assert words.key_of(UUID) == "/own.key"
    assert words.key_of(OTHER) == "/any.key"
    assert words.problems == ()


@pytest.mark.parametrize(
    "word",
    [
        "rd.luks.uuid=sda1",
        "rd.luks.uuid",
        f"rd.luks.name={UUID}",
        f"rd.luks.name={UUID}=../x",
        f"rd.luks.name={UUID}=-x",
        f"rd.luks.name={UUID}=" + "x" * 128,
        "rd.luks.key=key",
        "rd.luks.key=/key:LABEL=stick",
        "rd.luks.key=x=/key",
    ],
)
def test_what_cannot_be_used_is_told(word: str) -> None:
    """A word that makes no sense is a problem, and changes nothing."""
    words = parse_luks(word)
    assert len(words.problems) == 1
    assert word.partition("=")[0] in words.problems[0]
    assert words._replace(problems=()) == parse_luks("")


@given(st.text())
def test_any_line_is_parsed(line: str) -> None:
    """No line raises, and what comes of it is a name without a slash, a path from the root, or nothing."""
    words = parse_luks(line)
    assert all("/" not in name and name for _, name in words.names)
    assert all(path.startswith("/") for _, path in words.keys)
    assert all(map(is_safe_uuid, words.uuids))
