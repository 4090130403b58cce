"""core/loading/cause.py and the ledger's form of a match: values that are written, read back, and said in words."""

from hypothesis import given
from hypothesis import strategies as st

from modaliasd.core.kmod.plan import Match, match_of
from modaliasd.core.loading.cause import Cause, cause_of

words = st.text(max_size=20)
lines = st.integers(0, 30_000)
causes = (
    st.builds(Cause, words, words, words, words, lines, words)
    | st.builds(Cause, module=words)
    | st.builds(Cause, softdep=words)
    | st.builds(Cause, alias=words, line=lines, file=words, request=words)
)
matches = st.builds(
    lambda module, alias, file, line, builtin: Match(module, alias, file, line, builtin=builtin),
    words,
    words,
    words.filter(bool),
    lines,
    st.booleans(),
)


@given(causes)
def test_a_cause_comes_back_from_the_ledger(cause: Cause) -> None:
    """What is written is what is read; nothing that is empty is written."""
    assert cause_of(cause.fields()) == cause
    assert all(cause.fields().values())


@given(matches)
def test_a_match_comes_back_from_the_ledger(match: Match) -> None:
    """What a `device` line says of a match is the match."""
    assert match_of(match.fields()) == match


def test_fields_of_a_later_version_are_passed_over() -> None:
    """A reader takes what it knows."""
    assert cause_of({"module": "nic", "weather": "fine"}) == Cause(module="nic")
    assert match_of({"module": "nic", "weather": "fine"}).module == "nic"


def test_a_cause_in_words() -> None:
    """The short form names the device, the long one its path and modalias; modules and people are the same in both."""
    device = Cause("/devices/pci0000:00/0000:00:03.0", "pci", "pci:v8086d100E", "pci:v8086*", 7)
    assert device.in_short("eth0", 1) == "pci 0000:00:03.0 (eth0) and 1 more by pci:v8086*"
    assert device.in_full() == "for /devices/pci0000:00/0000:00:03.0 (pci) pci:v8086d100E by pci:v8086*"
    assert (device.who, device.place) == (device.devpath, "line 7 of modules.alias")
    assert Cause(module="libata").in_full() == Cause(module="libata").in_short() == "libata needs it"
    assert Cause(softdep="ext4").in_short() == "ext4 names it in a softdep"
    assert Cause(request="modaliasd.load=").in_short() == "asked for by modaliasd.load="


def test_a_cause_by_a_match() -> None:
    """The place is given where it is not modules.alias, and a bare name has none."""
    cause = Cause("/devices/d", "pci", "pci:v1")
    assert cause.by(Match("nic", "pci:*", "modules.alias", 3)).file == ""
    assert (
        cause.by(Match("nic", "pci:*", "/etc/modprobe.d/a.conf", 3)).place
        == "line 3 of /etc/modprobe.d/a.conf"
    )
    assert cause.by(Match("nic", file="modules.dep")) == cause
