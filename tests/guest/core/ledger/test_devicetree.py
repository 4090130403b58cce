"""modaliasd.core.ledger.devicetree: which node, and which of its compatibles an alias matched."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modaliasd.core.ledger.devicetree import compatible_of, explain, split

UART = "of:NserialT(null)Cacme,uart-2Cacme,uartCns16550a"


@pytest.mark.parametrize(
    ("modalias", "alias", "said"),
    [
        (UART, "of:N*T*Cacme,uart-2", "node serial, compatible acme,uart-2"),
        (
            UART,
            "of:N*T*Cacme,uartC*",
            "node serial, compatible acme,uart, which is more general than acme,uart-2",
        ),
        (
            UART,
            "of:N*T*Cns16550a",
            "node serial, compatible ns16550a, which is more general than acme,uart-2, acme,uart",
        ),
        ("of:NcpuTcpuCarm,cortex-a72", "of:N*TcpuCarm,cortex-a72", "node cpu, compatible arm,cortex-a72"),
        ("of:NflashT(null)Cx", "of:N*T*C*", ""),
        ("of:NflashT(null)Cx", "of:N*T*Cy", "node flash"),
        ("pci:v00001AF4d00001000sv*", "pci:v00001AF4d*", ""),
        ("", "", ""),
    ],
)
def test_which_compatible(modalias: str, alias: str, said: str) -> None:
    """The one that the alias names, with those that come before it; a prefix of another one is not taken for it."""
    assert explain(modalias, alias) == said


def test_capitals_within_names() -> None:
    """A C within a compatible's name does not part it."""
    assert split("nxp,SC16IS740Cnxp,sc16") == ["nxp,SC16IS740", "nxp,sc16"]
    assert split("sysconCsimple-mfd") == ["syscon", "simple-mfd"]


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_text(modalias: str, alias: str) -> None:
    """Nothing is raised; taking apart loses nothing."""
    explain(f"of:N{modalias}", f"of:N{alias}")
    assert "C".join(split(modalias)) == modalias
    assert isinstance(compatible_of(alias), str)
