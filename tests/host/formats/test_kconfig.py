"""hostbuild.formats.kconfig: .config files and fragments as text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostbuild.errors import InputError
from hostbuild.formats import kconfig
from hostbuild.formats.kconfig import Wish

_NAMES = st.from_regex(r"[A-Z0-9][A-Z0-9_]{0,12}", fullmatch=True)
_VALUES = st.sampled_from(["y", "m", "n", "0x1000", "-1", '""', '"a # b = c"'])


@given(st.dictionaries(_NAMES, _VALUES))
def test_rendering_then_parsing_gives_the_same_options(options: dict[str, str]) -> None:
    """What is written is what is read back."""
    assert kconfig.parse_config(kconfig.render_config(options)) == options


@given(st.text())
def test_any_text_parses_as_a_config(text: str) -> None:
    """What is not an option is passed over, whatever it is; each option that is found stands in the text."""
    for name in kconfig.parse_config(text):
        assert f"CONFIG_{name}" in text


def test_the_last_mention_counts() -> None:
    """Of two lines for one option the later one decides, as in conf_read_simple()."""
    assert kconfig.parse_config("CONFIG_A=y\nCONFIG_A=m\n# CONFIG_B is not set\nCONFIG_B=y\n") == {
        "A": "m",
        "B": "y",
    }


def test_comments_above_an_option_are_its_reason() -> None:
    """Comment lines directly above an option belong to it; an empty line ends them."""
    text = (
        "# heading\n\n# the bus\n# of everything\nCONFIG_PCI=y\nCONFIG_NET=y\n# loud\n# CONFIG_A is not set\n"
    )
    assert kconfig.parse_fragment(text, origin="x") == (
        Wish("PCI", "y", "the bus of everything"),
        Wish("NET", "y", ""),
        Wish("A", "n", "loud"),
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("CONFIG_A=y\nPCI=y\n", "frag, line 2: 'PCI=y' is not an option"),
        ("CONFIG_A=y\n\nCONFIG_A=m\n", "frag, line 3: CONFIG_A is named a second time"),
    ],
    ids=["no-option", "twice"],
)
def test_a_bad_fragment_is_refused_with_its_line(text: str, complaint: str) -> None:
    """A typing error in a fragment is not passed over: the file and the line are named."""
    with pytest.raises(InputError, match=complaint):
        kconfig.parse_fragment(text, origin="frag")


@pytest.mark.parametrize(
    ("word", "wish"),
    [
        ("E1000", Wish("E1000", "y")),
        ("E1000=m", Wish("E1000", "m")),
        ("CONFIG_8139CP=m", Wish("8139CP", "m")),
        ("X86_X32_ABI=n", Wish("X86_X32_ABI", "n")),
        ('CMDLINE="a=b c"', Wish("CMDLINE", '"a=b c"')),
    ],
)
def test_an_option_on_the_command_line(word: str, wish: Wish) -> None:
    """Options are named with or without CONFIG_ and value; without one they are wanted built in."""
    assert kconfig.parse_wish(word) == wish


@pytest.mark.parametrize("word", ["e1000", "no/such/file.config", ""])
def test_what_cannot_be_an_option_is_refused(word: str) -> None:
    """A file that does not exist is not taken for an option."""
    with pytest.raises(InputError, match="neither a file nor an option"):
        kconfig.parse_wish(word)


def test_mod2no_unsets_modules_only() -> None:
    """mod2noconfig turns m into n and leaves everything else."""
    assert kconfig.mod2no({"A": "m", "B": "y", "C": '"m"'}) == {"A": "n", "B": "y", "C": '"m"'}


@pytest.mark.parametrize(
    ("wanted", "got", "true"),
    [
        ("m", "m", True),
        ("m", "y", True),
        ("m", "n", False),
        ("y", "m", False),
        ("n", "n", True),
        ("n", "y", False),
    ],
)
def test_when_a_wish_came_true(wanted: str, got: str, true: bool) -> None:
    """A module that ended built in is there; an option wanted built in that ended as a module is not."""
    assert kconfig.came_true(Wish("A", wanted), {"A": got}) is true


def test_an_option_that_is_not_mentioned_is_off() -> None:
    """Kbuild leaves out what cannot be had: that reads as n."""
    assert kconfig.came_true(Wish("A", "n"), {})
    assert not kconfig.came_true(Wish("A", "m"), {})
