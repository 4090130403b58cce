"""modaliasd.core.ledger.devicetree: which node, and which of its compatibles an alias matched."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modaliasd.core.ledger.devicetree import compatible_of, node_fields, node_words, split

UART = "of:NserialT(null)Cacme,uart-2Cacme,uartCns16550a"


@pytest.mark.parametrize(
    ("modalias", "alias", "said"),
    [
        (
            UART,
            "of:N*T*Cacme,uart-2",
            "node serial, compatible acme,uart-2, which is more specific than acme,uart, ns16550a",
        ),
        (
            UART,
            "of:N*T*Cacme,uartC*",
            "node serial, compatible acme,uart, which is more general than acme,uart-2 and less so than ns16550a",
        ),
        (
            UART,
            "of:N*T*Cns16550a",
            "node serial, compatible ns16550a, which is more general than acme,uart-2, acme,uart",
        ),
        ("of:NcpuTcpuCarm,cortex-a72", "of:N*TcpuCarm,cortex-a72", "node cpu, compatible arm,cortex-a72"),
        ("of:NflashT(null)Cx", "of:N*T*C*", "node flash, compatible x"),
        ("of:NflashT(null)Cx", "of:N*T*Cy", "node flash, compatible x"),
        ("of:NflashT(null)", "", "node flash"),
        ("acpi:PRP0001:\nof:NflashT(null)Cx", "of:N*T*Cx", "node flash, compatible x"),
        ("pci:v00001AF4d00001000sv*", "pci:v00001AF4d*", ""),
        ("", "", ""),
    ],
)
def test_which_compatible(modalias: str, alias: str, said: str) -> None:
    """The one that the alias names, with those that come before it; a prefix of another one is not taken for it."""
    assert node_words(modalias, alias) == said


def test_the_path_of_a_node() -> None:
    """It stands for the name where it is known; a device of a bus with modaliases of its own has one as well."""
    said = node_words("of:NserialT(null)Cns16550a", "of:N*T*Cns16550a", "/soc/serial@9000")
    assert said == "node /soc/serial@9000, compatible ns16550a"
    assert node_words("spi:flash", "spi:flash", "/soc/spi@0/flash@0") == "node /soc/spi@0/flash@0"


def test_for_programs() -> None:
    """All compatibles, most specific first, and which of them aliases matched; None for what is in no tree."""
    assert node_fields(UART, ["of:N*T*Cns16550a", "of:N*T*Cacme,uartC*", "of:N*T*C*"], "/serial@0") == {
        "node": "/serial@0",
        "compatible": ["acme,uart-2", "acme,uart", "ns16550a"],
        "matched": ["ns16550a", "acme,uart"],
    }
    assert node_fields(UART, []) == {
        "node": "serial",
        "compatible": ["acme,uart-2", "acme,uart", "ns16550a"],
        "matched": [],
    }
    assert node_fields("pci:v00001AF4d00001000sv*", ["pci:v*"]) is None


def test_capitals_within_names() -> None:
    """A C within a compatible's name does not part it."""
    assert split("nxp,SC16IS740Cnxp,sc16") == ["nxp,SC16IS740", "nxp,sc16"]
    assert split("sysconCsimple-mfd") == ["syscon", "simple-mfd"]


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_text(modalias: str, alias: str) -> None:
    """Nothing is raised; taking apart loses nothing."""
    assert node_words(f"of:N{modalias}", f"of:N{alias}").startswith("node ")
    found = node_fields(f"of:N{modalias}", [f"of:N{alias}", alias])
    assert found is not None
    assert set(found["matched"]) <= set(found["compatible"])
    assert "C".join(split(modalias)) == modalias
    assert isinstance(compatible_of(alias), str)
