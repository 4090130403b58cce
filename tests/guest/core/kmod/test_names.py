"""kmod's normalisations."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modaliasd.core.kmod.names import NAME_LIMIT, UnbalancedBracketsError, module_name, normalize_alias


@pytest.mark.parametrize(
    ("given_name", "expected"),
    [
        ("e1000", "e1000"),
        ("snd-hda-intel", "snd_hda_intel"),
        ("kernel/sound/pci/hda/snd-hda-intel.ko", "snd_hda_intel"),
        ("/lib/modules/6.1/kernel/fs/nls/nls_iso8859-1.ko.xz", "nls_iso8859_1"),
        ("8021q.ko.zst", "8021q"),
        ("a.b.ko.gz", "a"),
        ("", ""),
    ],
)
def test_module_name(given_name: str, expected: str) -> None:
    """A module is named after its file up to the first dot, with underscores."""
    assert module_name(given_name) == expected


@pytest.mark.parametrize(
    ("alias", "expected"),
    [
        (b"of:N*T*Cfsl,imx6q-usbC*", b"of:N*T*Cfsl,imx6q_usbC*"),
        (b"usb:v1d0[0-3]-x", b"usb:v1d0[0-3]_x"),
        (b"[-][-]-", b"[-][-]_"),
        (b"[[]-", b"[[]_"),
        (b"a\0b-c", b"a"),
        (b"", b""),
        (b"-" * 5000, b"_" * NAME_LIMIT),
    ],
)
def test_normalize_alias(alias: bytes, expected: bytes) -> None:
    """Dashes become underscores outside brackets; the string ends where kmod's does."""
    assert normalize_alias(alias) == expected


@pytest.mark.parametrize("alias", [b"]", b"foo]", b"[", b"a[b", b"[a]]", b"[]]", b"]["])
def test_unbalanced_brackets_are_an_error(alias: bytes) -> None:
    """A bracket without its partner makes the whole string invalid, as kmod's EINVAL does."""
    with pytest.raises(UnbalancedBracketsError):
        normalize_alias(alias)


@given(st.binary(max_size=60))
def test_normalizing_twice_changes_nothing(alias: bytes) -> None:
    """A normalised string is its own normal form."""
    try:
        once = normalize_alias(alias)
    except UnbalancedBracketsError:
        return
    assert normalize_alias(once) == once
