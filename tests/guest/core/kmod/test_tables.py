"""modules.alias, modules.builtin.modinfo and modules.order as depmod and the kernel's build write them."""

from hypothesis import given
from hypothesis import strategies as st

from modaliasd.core.kmod.tables import (
    Alias,
    parse_builtin_modinfo,
    parse_modules_alias,
    parse_modules_order,
)


def test_lines_become_aliases_with_their_numbers() -> None:
    """Comments and blank lines count as lines and say nothing."""
    text = b"# Aliases extracted from modules themselves.\nalias pci:v1d* e1000\n\nalias usb:* snd-usb\n"
    assert parse_modules_alias(text) == ([Alias(b"pci:v1d*", "e1000", 2), Alias(b"usb:*", "snd_usb", 4)], [])


def test_blanks_belong_to_the_pattern() -> None:
    """depmod quotes nothing: the module is the last word of the line."""
    aliases, bad = parse_modules_alias(b"alias platform:Fixed MDIO bus fixed_phy\n")
    assert aliases == [Alias(b"platform:Fixed MDIO bus", "fixed_phy", 1)]
    assert bad == []


def test_broken_lines_are_reported_and_skipped() -> None:
    """Each broken line is told by its number; the others count."""
    text = b"alias a m\nalias b\nnonsense\nalias c[ m\nalias d m"
    aliases, bad = parse_modules_alias(text)
    assert [alias.line for alias in aliases] == [1, 5]
    assert [line for line, _ in bad] == [2, 3, 4]
    assert all(reason for _, reason in bad)


@given(st.binary(max_size=300))
def test_no_bytes_break_the_parsers(data: bytes) -> None:
    """Every line is an alias, a broken line, a comment or blank; nothing raises."""
    aliases, bad = parse_modules_alias(data)
    parse_builtin_modinfo(data)
    parse_modules_order(data)
    silent = sum(not line.strip() or line.startswith(b"#") for line in data.split(b"\n"))
    assert len(aliases) + len(bad) + silent >= len(data.split(b"\n"))
    assert len(aliases) + len(bad) <= len(data.split(b"\n"))


def test_builtin_aliases() -> None:
    """Only `alias` entries count, and a pattern may hold dots and equals signs."""
    data = b"rtc_cmos.license=GPL\0rtc_cmos.alias=platform:rtc_cmos\0"
    data += b"dmi-x.alias=dmi:*bd1.2=3*\0junk\0a.alias=[\0"
    assert parse_builtin_modinfo(data) == [
        Alias(b"platform:rtc_cmos", "rtc_cmos"),
        Alias(b"dmi:*bd1.2=3*", "dmi_x"),
    ]


def test_order_takes_the_last_place() -> None:
    """A module that stands twice in modules.order has its last place, as for depmod."""
    order = parse_modules_order(b"kernel/a.ko\nkernel/b-c.ko.xz\nkernel/a.ko\n")
    assert order["a"] > order["b_c"]
