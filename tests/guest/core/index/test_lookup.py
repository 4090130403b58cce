"""The index on its own: against the plain definition of a match, damaged, for the other byte order."""

import random
import sys
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modaliasd.core.errors import FormatError
from modaliasd.core.index import search
from modaliasd.core.index.build import build_index, expand_sets
from modaliasd.core.index.format import (
    FIELDS,
    FIRST,
    GRAMS,
    HEADER_SIZE,
    KIND_SHIFT,
    KINDS,
    LAST,
    MAGIC,
    read_header,
    tables,
)
from modaliasd.core.index.lookup import Hit, Index, build
from modaliasd.core.kmod.glob import compile_pattern
from modaliasd.core.kmod.names import UnbalancedBracketsError, normalize_alias, text_of
from tests.support.fuzzing import examples

TABLE = b"""\
alias pci:v00008086d00001521sv*sd*bc*sc*i* igb
alias pci:v*d*sv*sd*bc01sc06i01* ahci
alias of:N*T*Cfsl,imx6q-usbC* ci_hdrc_imx
alias of:N*T*Cfsl,imx6q-usb ci_hdrc_imx
alias usb:v0421p0492d0[5-9]*dc*dsc*dp*ic*isc*ip*in* usb-storage
alias mdio:00??1? marvell
alias crypto-aes aesni-intel
alias crypto-aes aes_generic
"""


def table(aliases: list[tuple[bytes, str]]) -> bytes:
    return b"".join(b"alias " + pattern + b" " + module.encode() + b"\n" for pattern, module in aliases)


def plainly(aliases: list[tuple[bytes, str]], modalias: bytes) -> list[str]:
    """The definition: try every pattern in turn."""
    try:
        text = normalize_alias(modalias)
    except UnbalancedBracketsError:
        return []
    return list(dict.fromkeys(m for p, m in aliases if compile_pattern(normalize_alias(p))(text, 0)))


def test_what_no_bytes_are_read_as_matches_nothing() -> None:
    """A lone surrogate, which a capture's JSON may hold, is in no alias; a byte that is not UTF-8 may be."""
    index = Index(build(b"alias x:* any\n"))
    assert index.lookup("x:\ud800") == []
    assert [hit.module for hit in index.lookup("x:\udcff")] == ["any"]


def test_an_answer_tells_module_pattern_and_line() -> None:
    """The pattern is as the file has it, dashes, sets and question marks included."""
    index = Index(build(TABLE))
    assert index.lookup("pci:v00008086d00001521sv00008086sd00000001bc02sc00i00") == [
        Hit("igb", "pci:v00008086d00001521sv*sd*bc*sc*i*", 1)
    ]
    assert index.lookup("of:NusbT(null)Cfsl,imx6q-usbCfsl,imx27-usb")[0].alias == "of:N*T*Cfsl,imx6q-usbC*"
    assert index.lookup("of:NusbT(null)Cfsl,imx6q-usb")[0] == Hit("ci_hdrc_imx", "of:N*T*Cfsl,imx6q-usb", 4)
    assert index.lookup("usb:v0421p0492d0733dc00dsc00dp00ic08isc06ip50in00")[0].line == 5
    assert index.lookup("mdio:001011") == [Hit("marvell", "mdio:00??1?", 6)]
    assert index.aliases == 8


def test_modules_come_in_load_order() -> None:
    """modules.order decides, and without it the place in the file."""
    assert [m.module for m in Index(build(TABLE)).lookup("crypto-aes")] == ["aesni_intel", "aes_generic"]
    order = b"kernel/crypto/aes_generic.ko\nkernel/arch/x86/crypto/aesni-intel.ko\n"
    assert [m.module for m in Index(build(TABLE, order)).lookup("crypto-aes")] == [
        "aes_generic",
        "aesni_intel",
    ]


def test_built_in_modules_answer_only_if_no_other_does() -> None:
    """An alias of the kernel itself is an outcome of its own, and comes last as in kmod."""
    builtin = b"rtc_cmos.alias=platform:rtc_cmos\0aes_builtin.alias=crypto-aes\0"
    index = Index(build(TABLE, b"", builtin))
    assert index.lookup("platform:rtc_cmos") == [Hit("rtc_cmos", "platform:rtc_cmos", 0, builtin=True)]
    assert [m.module for m in index.lookup("crypto_aes")] == ["aesni_intel", "aes_generic"]
    assert index.aliases == 8


def test_broken_lines_are_told_by_a_mapped_index_too() -> None:
    """The index carries the report of the lines that are not in it."""
    index = Index(build(b"alias a m\nalias b[ m\nrubbish\nalias [[:x]y[z] m\n"))
    assert [problem.line for problem in index.warnings] == [2, 3, 4]
    assert index.aliases == 1


def test_an_empty_table_answers_nothing() -> None:
    """No aliases at all are no error."""
    assert Index(build(b"")).lookup("pci:v1") == []


PIECES = st.sampled_from(
    [
        b"*",
        b"*",
        b"?",
        b"[ab]",
        b"[!a]",
        b"[",
        b"]",
        b"-",
        b"_",
        b"a",
        b"b",
        b"c",
        b"ab",
        b"abc",
        b"\\",
        b":",
        b"a0",
        b"\xe9",
    ]
)
TEXTS = st.sampled_from(
    [b"a", b"b", b"c", b"ab", b"abc", b"-", b"_", b":", b"a0", b"\xe9", b"[a]", b"*", b"?", b"\\"]
)


@settings(max_examples=examples(100), deadline=None)
@given(
    st.lists(st.lists(PIECES, min_size=1, max_size=7).map(b"".join), min_size=1, max_size=30),
    st.lists(st.lists(TEXTS, max_size=8).map(b"".join), min_size=1, max_size=12),
)
def test_the_index_agrees_with_trying_every_pattern(patterns: list[bytes], texts: list[bytes]) -> None:
    """Whatever the table, the trie finds what trying all patterns finds: no more, no less, in order."""
    aliases = []
    for number, pattern in enumerate(patterns):
        try:
            normalize_alias(pattern)
        except UnbalancedBracketsError:
            continue
        # Backslashes: see test_match_libkmod. Named classes: the pattern is refused.
        if b"\\" in pattern or b"[:" in pattern:
            continue
        aliases.append((pattern, f"m{number % 9}"))
    order = list(dict.fromkeys(module for _, module in aliases))
    aliases.sort(key=lambda alias: order.index(alias[1]))
    index = Index(build(table(aliases)))
    for text in texts:
        assert [m.module for m in index.lookup(text_of(text))] == plainly(aliases, text), text


def test_patterns_that_share_stars_agree_too() -> None:
    """Some thousand patterns over few literals, so that nearly every node branches behind a star."""
    chance = random.Random(11)
    words = [b"a", b"b", b"d", b"sv", b"d0", b"d00", b":rn", b":r", b"Cx,", b"Cx,y", b"0", b"1", b"aa"]
    aliases = [
        (
            b"".join(
                chance.choice((b"", b"*", b"?", b"*")) + w
                for w in chance.choices(words, k=chance.randrange(1, 6))
            )
            + chance.choice((b"", b"*")),
            f"m{n:04}",
        )
        for n in range(1500)
    ]
    index = Index(build(table(aliases)))
    for _ in range(60):
        text = b"".join(chance.choices(words, k=chance.randrange(9)))
        assert [m.module for m in index.lookup(text_of(text))] == plainly(aliases, text)


def test_single_letters_behind_stars_agree_too() -> None:
    """As input's patterns have them, whose letters stand together, or have something between them, or another order."""
    chance = random.Random(4)
    letters = [b"k", b"r", b"a", b"m", b"l", b"s", b"f", b"w"]
    aliases = [
        (
            b"x:*"
            + b"*".join(letters[chance.randrange(3) : chance.randrange(4, 9)])
            + chance.choice((b"*", b"*", b"")),
            f"m{n:02}",
        )
        for n in range(40)
    ] + [(b"x:*k*r*a*m*l*s*f*w*", "all"), (b"x:*l*s*f*w*", "four"), (b"x:*k*l*s*f*w*", "five")]
    index = Index(build(table(aliases)))
    for _ in range(400):
        text = b"x:" + b"".join(chance.choices([*letters, b"lsfw", b"ram", b"1,"], k=chance.randrange(9)))
        assert [m.module for m in index.lookup(text_of(text))] == plainly(aliases, text), text


def test_more_buses_than_are_remembered_agree_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ways past the first nodes are forgotten when there are many, and found again; short strings have some."""
    monkeypatch.setattr(search, "MOST_BUSES", 5)
    aliases = [(f"bus{n}:a*".encode(), f"m{n:02}") for n in range(30)] + [(b"b", "mb"), (b"bus1*", "m_bus")]
    index = Index(build(table(aliases)))
    for text in [
        b"",
        b"b",
        b"bu",
        b"bus1",
        b"bus29:",
        b"none:x",
        *(f"bus{n}:ab".encode() for n in range(31)),
    ] * 2:
        assert [m.module for m in index.lookup(text_of(text))] == plainly(aliases, text), text


WORDS = (
    b"Falco",
    b"Leon",
    b"Mario",
    b"Aptio",
    b"ROG",
    b"STRIX",
    b":rn",
    b":pn",
    b":svn",
    b"Acme",
    b"Inc.",
    b"X1",
    b"a",
)


def words_table(count: int) -> list[tuple[bytes, str]]:
    """Patterns as dmi has them: words between stars."""
    chance = random.Random(count)
    return [
        (b"*" + b"*".join(chance.choices(WORDS, k=chance.randrange(2, 6))) + b"*", f"m{n % 11}")
        for n in range(count)
    ]


@pytest.mark.parametrize("count", [5, 40, 200])
def test_many_words_behind_stars_agree_too(count: int) -> None:
    """Few patterns are tried one by one, many are found by their grams; in short strings and in long ones."""
    chance = random.Random(count)
    aliases = words_table(count)
    order = list(dict.fromkeys(module for _, module in aliases))
    in_order = sorted(aliases, key=lambda alias: order.index(alias[1]))
    index = Index(build(table(aliases)))
    for length in (0, 1, 3, 8, 20, 300):
        for _ in range(8):
            text = b"".join(chance.choices(WORDS, k=length))
            assert [m.module for m in index.lookup(text_of(text))] == plainly(in_order, text), text


def item_kinds(data: bytes) -> set[int]:
    """The kinds of all items of the index."""
    header = read_header(data)
    sections = tables(data, header)
    refs, items = sections[3], sections[8]
    kinds = set()
    for ref in refs:
        word = 0 if ref else LAST
        while word < LAST:
            word = items[ref]
            kinds.add(word >> KIND_SHIFT & KINDS)
            ref += 2
    return kinds


def test_the_words_table_has_grams() -> None:
    """The tests above are about what they say they are about."""
    assert GRAMS in item_kinds(build(table(words_table(200))))
    assert FIRST in item_kinds(
        build(table([(b"a:*x%d,*y*" % n, "one") for n in range(6)] + [(b"a:*z", "two")]))
    )


def test_of_one_modules_tails_the_first_line_is_told() -> None:
    """Where many lines of one module match, the explanation is the first of them."""
    lines = b"".join(b"alias a:b*%d,*c* one\n" % n for n in (7, 5, 3, 1, 0))
    index = Index(build(lines + b"alias a:*c two\n"))
    assert index.lookup("a:b0,1,3,5,c") == [Hit("one", "a:b*5,*c*", 2), Hit("two", "a:*c", 6)]


def test_long_strings_take_little_time() -> None:
    """4,000 and 10,000 equal bytes against many nested stars: each node is tried once a place."""
    aliases = [(b"*a" * n + b"*" + bytes([98 + n % 20]) + b"*", f"m{n}") for n in range(1, 60)]
    index = Index(build(table(aliases)))
    assert index.lookup("a" * 4000) == []
    assert [m.module for m in index.lookup("a" * 4094 + "c")] == ["m1", "m21", "m41"]
    assert index.lookup("a" * 10_000 + "c") == []  # kmod looks at 4,095 bytes


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (b"d0[0-2]*", [b"d00*", b"d01*", b"d02*"]),
        (b"[bs]v[Dd]", [b"bvD", b"bvd", b"svD", b"svd"]),
        (b"[!a]", [b"[!a]"]),
        (b"[*]", [b"[*]"]),
        (b"[a-z][a-z]", [b"[a-z][a-z]"]),
        (b"x[b-a]", [b"x[b-a]"]),
    ],
)
def test_small_sets_are_written_out(pattern: bytes, expected: list[bytes]) -> None:
    """Sets of a few letters and digits become plain patterns, all others stay."""
    assert sorted(expand_sets(pattern)) == sorted(expected)


def test_same_input_same_bytes() -> None:
    """The index depends on nothing but its sources."""
    assert build(TABLE, b"a\n", b"x.alias=y\0") == build(TABLE, b"a\n", b"x.alias=y\0")


def test_the_other_byte_orders_index_says_the_same() -> None:
    """Turned round word by word, all tables are equal, but grams, which are bytes and stay in their order."""
    other: Literal["big", "little"] = "big" if sys.byteorder == "little" else "little"
    text = table(words_table(60))
    ours, theirs = build(text), build_index(text, byteorder=other)
    header = read_header(ours)
    at = HEADER_SIZE + header["pool"]
    assert ours[HEADER_SIZE:at] == theirs[HEADER_SIZE:at]
    words = [(ours[i : i + 4], theirs[i : i + 4]) for i in range(at, len(ours), 4)]
    assert len(ours) == len(theirs)
    different = {one for one, two in words if one != two[::-1]}
    assert different
    assert all(one == two for one, two in words if one != two[::-1])
    assert all(gram in text for gram in different)


def test_the_other_byte_order_is_refused_by_name() -> None:
    """An index for a machine of the other byte order is told apart from a damaged one."""
    other: Literal["big", "little"] = "big" if sys.byteorder == "little" else "little"
    with pytest.raises(FormatError, match="byte order"):
        Index(build_index(TABLE, byteorder=other))


def test_another_version_is_refused() -> None:
    """A reader believes only its own version."""
    data = bytearray(build(TABLE))
    at = len(MAGIC) + 4 * FIELDS.index("version")
    data[at : at + 4] = (99).to_bytes(4, sys.byteorder)
    with pytest.raises(FormatError, match="version 99"):
        Index(bytes(data))


@given(st.integers(0, 400))
def test_every_truncation_is_refused(missing: int) -> None:
    """However much is cut off, opening says so."""
    data = build(TABLE)
    with pytest.raises(FormatError):
        Index(data[: max(0, len(data) - 1 - missing * len(data) // 400)])


def test_every_flipped_bit_of_the_header_is_noticed_at_once() -> None:
    """The header has a checksum that opening tests."""
    data = build(TABLE)
    for place in range(HEADER_SIZE):
        damaged = bytearray(data)
        damaged[place] ^= 1 << place % 8
        with pytest.raises(FormatError):
            Index(bytes(damaged))


@given(st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(1, 255)), min_size=1, max_size=30))
def test_damage_to_the_body_is_found_by_verify_and_crashes_nothing(damage: list[tuple[int, int]]) -> None:
    """Lookups in a damaged index answer or raise FormatError; the full check notices every change."""
    data = build(TABLE + table(words_table(40)), b"", b"rtc_cmos.alias=platform:rtc_cmos\0")
    damaged = bytearray(data)
    for place, change in damage:
        damaged[HEADER_SIZE + place % (len(data) - HEADER_SIZE)] ^= change
    index = Index(data)
    index.verify()
    if bytes(damaged) == data:
        return
    with pytest.raises(FormatError):  # noqa: PT012  (either of the two may be the one that notices)
        index = Index(bytes(damaged))
        for modalias in (
            "pci:v00008086d00001521sv0sd0bc01sc06i01",
            "of:NaTbCfsl,imx6q-usb",
            "crypto-aes",
            "mdio:001011",
            ":svnAcme:pnFalco:rnLeonMarioROGSTRIX",
            ":svn" + "AcmeLeonFalcoMario" * 30,
        ):
            try:
                index.lookup(modalias)
            except FormatError:
                continue
        index.verify()
