"""The machines with something special, booted: their kernel uses it, and nothing fails (docs/machines.md)."""

import pytest

from scripts.machine_table import DOCUMENT, HEAD, boot, pcs

# What the look into the guest has to show, on any of Debian's kernels.
SEEN = {
    "numa": ("nodes 0-1, CPUs 0-3",),
    "iommu": ("dmar0",),
    "bridges": ("e1000 plugged into down1: e1000", "e1000 plugged into pci0: e1000"),
    "cxl": ("mem0", "decoder0.0", "endpoint"),
    "board": ("TPM 2", "i6300ESB timer", "/dev/ipmi0"),
}


@pytest.mark.vm
@pytest.mark.parametrize("name", SEEN)
def test_its_speciality_is_used(name: str) -> None:
    """Every load of the boot succeeds, and the guest shows what the machine is for."""
    row = boot(name)
    assert row.counts[3] == 0
    assert [words for words in SEEN[name] if words not in row.seen] == []


def test_every_machine_has_its_row() -> None:
    """The document's table has been made of all machines that amd64's image boots on."""
    rows = (
        DOCUMENT.read_text(encoding="utf-8").partition(f"{HEAD}\n")[2].partition("\n\n")[0].splitlines()[1:]
    )
    assert [row.split("`")[1] for row in rows] == pcs()
