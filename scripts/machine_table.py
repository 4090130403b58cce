"""The table of docs/machines.md: every machine that comes along, booted: what its devices got, a look into the guest.

    make machine-table                                   # all of them, written into the document
    PYTHONPATH=. .venv/bin/python scripts/machine_table.py numa cxl    # some, printed

The image is make-image's default one, of Debian's kernel.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hostbuild.arch import Arch
from hostbuild.image.kept import require_image
from hostbuild.qemu.machine import machine_names, read_machine
from hostbuild.testing.guest import Guest
from hostbuild.testing.images import options_of
from hostbuild.testing.marks import GuestWish, ImageWish, MachineWish
from hostbuild.testing.pool import Pool, machine_of

DOCUMENT = Path(__file__).resolve().parents[1] / "docs/machines.md"
HEAD = "| machine | devices with a modalias | matched | modules | failed | with a driver | in the guest |"
_RULE = "|---|---:|---:|---:|---:|---:|---|"
KERNEL = "deb:linux-image-amd64"

# What shows that the kernel uses a machine's speciality: a line for the guest's shell, which prints one line.
_LOOKS = {
    "numa": "echo nodes $(cat /sys/devices/system/node/online), CPUs $(cat /sys/devices/system/cpu/online)",
    "iommu": "echo $(ls /sys/class/iommu), $(ls /sys/kernel/iommu_groups | wc -l) groups",
    "viommu": "echo $(ls /sys/kernel/iommu_groups | wc -l) groups",
    "cxl": "echo $(ls /sys/bus/cxl/devices)",
    "board": "echo TPM $(cat /sys/class/tpm/tpm0/tpm_version_major), "
    "$(cat /sys/class/watchdog/watchdog0/identity), $(ls /dev/ipmi*)",
}
_OTHERS = (
    "echo $(ls /sys/class/net /sys/class/block | grep -v -e : -e lo -e '^$' | wc -l) disks and network cards"
)
# Behind which bridges a device is plugged in: machine -> places.
_HOT_ADD = {"bridges": ("down1", "pci0")}


@dataclass(frozen=True, slots=True)
class Row:
    """A machine's row. counts: of the ledger's first `settled` line, as HEAD has them. seen: what the guest printed."""

    machine: str
    counts: tuple[int, int, int, int, int]
    seen: str

    def __str__(self) -> str:
        return f"| `{self.machine}` | {' | '.join(map(str, self.counts))} | {self.seen} |"


def look(guest: Guest) -> Row:
    """Make the row of a guest that has settled after its boot."""
    settled = next(record for record in guest.ledger if record["type"] == "settled")
    counts = tuple(settled[key] for key in ("with_modalias", "matched", "loads", "failed", "bound"))
    name = guest.machine.name
    seen = guest.run(_LOOKS.get(name, _OTHERS)).stdout.strip()
    added = [_hot_add(guest, place) for place in _HOT_ADD.get(name, ())]
    return Row(name, counts, ", ".join([seen, *added]))


def _hot_add(guest: Guest, place: str) -> str:
    """Plug a network card in behind a bridge, and tell what drove it."""
    card = guest.plug("e1000", bus=place)
    bound = guest.expect_bound(card, "e1000")
    guest.unplug(card)
    return f"e1000 plugged into {place}: {bound.driver}"


def boot(name: str) -> Row:
    """Boot a machine and make its row."""
    image = require_image(options_of(ImageWish(), KERNEL))
    with Pool() as pool:
        return look(pool.require(image, machine_of(name, MachineWish()), GuestWish(), "tcg"))


def pcs() -> list[str]:
    """Give the names of the machines that this image boots on."""
    return [name for name in machine_names() if read_machine(name).arch in (None, Arch.AMD64)]


def main(names: Sequence[str]) -> None:
    """Print the rows of the machines that are named, or write those of all into the document."""
    rows = [HEAD, _RULE]
    for name in names or pcs():
        rows.append(str(boot(name)))
        print(rows[-1], flush=True)
    if names:
        return
    text = DOCUMENT.read_text(encoding="utf-8")
    before, _, rest = text.partition(f"{HEAD}\n")
    after = rest.partition("\n\n")[2]
    DOCUMENT.write_text("\n".join([f"{before}{rows[0]}", *rows[1:], "", after]), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
