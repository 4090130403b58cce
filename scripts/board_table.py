"""Writes the table of boards in docs/predicting.md: what of Debian's arm64 device trees has a module.

For each vendor: its boards, their devices, and how many of these a module has an alias for. Then the compatibles that
have no module, and that most boards have.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hostbuild.arch import Arch
from hostbuild.formats.devicetree.blob import parse_blob
from hostbuild.formats.devicetree.devices import TreeDevice, devices_of
from hostbuild.kernels.find import find_kernel
from hostbuild.kernels.kernel import require_kernel
from hostbuild.predict.target import open_kernel
from hostbuild.ui import Silent

KERNEL = f"deb:{Arch.ARM64.facts.kernel}"
DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "predicting.md"
HEAD = "| vendor | boards | devices | with a module | without |"
_RULE = "|---|---:|---:|---:|---:|"
_SHOWN = 12  # compatibles


@dataclass(slots=True)
class Vendor:
    """The boards of a vendor, and their devices by whether a module has an alias for them."""

    boards: int = 0
    with_module: int = 0
    without: int = 0

    def row(self, name: str) -> str:
        """Return the table's row."""
        counts = (self.boards, self.with_module + self.without, self.with_module, self.without)
        return f"| {name} | {' | '.join(f'{count:,}' for count in counts)} |"


def trees_of_debian() -> Iterator[tuple[str, str, list[TreeDevice]]]:
    """Give vendor, board and devices of each device tree in Debian's arm64 kernel package."""
    packaged = find_kernel(KERNEL, Silent()).packaged
    assert packaged is not None
    for root in packaged.roots:
        for path in sorted(root.glob("usr/lib/**/*.dtb")):
            yield path.parent.name, path.stem, list(devices_of(parse_blob(path.read_bytes())))


def count() -> tuple[dict[str, Vendor], Counter[str]]:
    """Look all up; give the vendors, and the compatibles without a module by the number of boards that have them."""
    resolver = open_kernel(require_kernel(KERNEL, None, Silent()), {}).resolver
    vendors: dict[str, Vendor] = defaultdict(Vendor)
    boards_of: Counter[str] = Counter()
    for name, _, devices in trees_of_debian():
        vendor = vendors[name]
        vendor.boards += 1
        without = set()
        for device in devices:
            if device.modalias and resolver.resolve(device.modalias).matches:
                vendor.with_module += 1
            else:
                vendor.without += 1
                without.add(device.compatible[0])
        boards_of.update(without)
    return dict(vendors), boards_of


def main() -> None:
    """Write the table into the document."""
    vendors, boards_of = count()
    rows = [HEAD, _RULE, *(vendors[name].row(name) for name in sorted(vendors))]
    common = ", ".join(f"`{name}` ({number})" for name, number in boards_of.most_common(_SHOWN))
    print("\n".join(rows), common, sep="\n\n")
    text = DOCUMENT.read_text(encoding="utf-8")
    before, _, rest = text.partition(f"{HEAD}\n")
    after = rest.partition("\n\n")[2]
    after = re.sub(
        r"(?s)(most boards have them: ).*?\n\n", lambda found: f"{found[1]}{common}.\n\n", after, count=1
    )
    DOCUMENT.write_text("\n".join([f"{before}{rows[0]}", *rows[1:], "", after]), encoding="utf-8")


if __name__ == "__main__":
    main()
