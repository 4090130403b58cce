"""scripts/boot_matrix.py: what a page says of a boot, by a real ledger; docs/boot-matrix.md is such a page."""

from pathlib import Path

from hostbuild.arch import Arch
from hostbuild.ledger.file import read_history
from hostbuild.matrix.asked.axes import GuestTest, MatrixImage, MatrixKernel
from hostbuild.matrix.asked.cells import Cell, cells_of
from hostbuild.matrix.asked.spec import parse_spec
from scripts import boot_matrix
from tests.support.ledgers import Q35

MANIFEST = {
    "kernel": {
        "version": "6.1.0-56-amd64",
        "package": {"name": "linux-image-6.1.0-56-amd64", "version": "6.1.192-2"},
    },
    "packages": [
        {"name": "busybox-static", "version": "1:1.35.0-4"},
        {"name": "python3.11-minimal", "version": "3.11.2-6"},
    ],
}


def booted(path: Path = Q35, trouble: str = "") -> boot_matrix.Booted:
    """The real ledger's boot as a cell."""
    cell = Cell(MatrixKernel("stable", "a"), "q35", MatrixImage("default"), GuestTest("boot"), Arch.AMD64)
    return boot_matrix.Booted(cell, read_history(path), MANIFEST, 0.0, trouble)


def test_a_page_of_a_real_boot() -> None:
    """The counts are the ledger's first settle's; devices without a driver are those that nothing took."""
    page = boot_matrix.page([booted(), booted(trouble="status 112")], "QEMU 7.2")
    assert "2 cells, 1 not as expected. Booted on 1970-01-01" in page
    first = next(line for line in page.splitlines() if line.startswith("| 6.1.0-56 amd64 |"))
    settled = booted().history.settles[0].fields
    counts = [settled[key] for key in ("with_modalias", "matched", "loads", "failed", "bound")]
    without = boot_matrix.without_driver(booted().history)
    assert first == f"| 6.1.0-56 amd64 | `q35` | yes | {' | '.join(map(str, [*counts, len(without)]))} |"
    assert "| `q35` | yes: status 112 |" in page
    assert "busybox 1:1.35.0-4, python3.11-minimal 3.11.2-6" in page
    edu = next(
        modalias
        for modalias, why in without
        if "v00001234d000011E8" in modalias and why == "no module matches"
    )
    assert (
        f"| `{edu}` | no module matches | up to 2 a machine, 6.1.0-56 amd64 q35 |" in page
    )  # it is there twice
    assert not any(modalias.startswith(("input:", "cpu:", "dmi:")) for modalias, _ in without)


def test_the_document_has_all_cells() -> None:
    """docs/boot-matrix.md was made of the whole matrix: a row for each kernel on each machine for its architecture."""
    spec = parse_spec(boot_matrix.FILE.read_text(), boot_matrix.FILE)
    pcs = [name for name in spec.machines if name not in ("virtio", "virt-arm64")]
    wanted = [
        cell.names[1:3]
        for cell in cells_of(spec)
        if cell.names[2] not in (["virt-arm64"] if cell.arch is Arch.AMD64 else pcs)
    ]
    text = boot_matrix.DOCUMENT.read_text()
    table = text.partition(f"{boot_matrix.HEAD}\n")[2].partition("\n\n")[0].splitlines()[1:]
    rows = [tuple(part.strip(" `") for part in line.split("|")[1:4]) for line in table]
    assert [(kernel.split()[1], machine) for kernel, machine, _ in rows] == wanted
    assert {settled for _, _, settled in rows} == {"yes"}
    assert f"{len(wanted)} cells, all as expected" in text
