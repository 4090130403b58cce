"""What of an image is ever read in a guest: which files a boot opens, which a plug, which the guest's commands.

    make bench-opened          builds the default image, boots it (q35), prints a table for docs/images.md

The files of an initramfs lie in a tmpfs that the kernel mounts without options, so that each read sets a file's time of
access (fs/inode.c, touch_atime). Unpacking leaves it as it leaves the time of change, which is the archive's: 0.
"""

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from hostbuild.image.build import ImageOptions
from hostbuild.image.made import make_image
from hostbuild.qemu.machine import read_machine
from hostbuild.qemu.session import prepare
from hostbuild.qemu.vm import VM
from tests.vm.test_interpreters import CALLS

PHASES = ("boot", "hotplug", "commands", "never")
_LIST = "find / -xdev -type f -exec stat -c '%X %Y %n' {} +"


def part_of(path: str, group: str) -> str:
    """Tell apart what the manifest has as one group."""
    name = path.rpartition("/")[2]
    if group == "python":
        if ".so" in name:
            return "libraries" if "/python3" not in path else "extension modules"
        return "interpreter" if name.startswith("python3") else "standard library"
    return group


def read_files(vm: VM) -> set[str]:
    """Return the paths of the files that were read so far."""
    found = set()
    for line in vm.check(_LIST, timeout=120).splitlines():
        accessed, changed, path = line.split(" ", 2)
        if int(accessed) > int(changed):
            found.add(path.lstrip("/"))
    return found


def measure(image: Path) -> dict[str, set[str]]:
    """Boot an image, plug a device in, run every command; return what was read first in each phase."""
    session = prepare(image, read_machine("q35"), memory="768", accel="tcg", agent=True, limit_s=900)
    with session.vm() as vm:
        vm.settled(timeout=300)
        boot = read_files(vm)
        for device in ("am53c974", "usb-ehci"):  # which the machine has not
            before = len(vm.ledger)
            vm.device_add(device)
            vm.settled(timeout=120, since=before)
        plugged = read_files(vm)
        for call in CALLS:
            name = call.split()[0]
            for words in ([name, "--help"], call.split()):
                vm.run(["modaliasd", *words], timeout=120)
        called = read_files(vm)
    return {"boot": boot, "hotplug": plugged - boot, "commands": called - plugged}


def table(
    manifest: Mapping[str, object], phases: Mapping[str, set[str]]
) -> tuple[list[str], list[tuple[int, str]]]:
    """Return the table's rows, and the files that nothing has read, the largest first."""
    rows: dict[str, dict[str, int]] = {}
    never = []
    for row in manifest["files"]:  # type: ignore[attr-defined]
        if not row["mode"].startswith("10"):
            continue
        phase = next((one for one, paths in phases.items() if row["path"] in paths), "never")
        part = part_of(row["path"], row["group"])
        counted = rows.setdefault(part, dict.fromkeys(PHASES, 0))
        counted[phase] += row["size"]
        if phase == "never" and part != "modules":
            never.append((row["size"], row["path"]))
    lines = ["| part | " + " | ".join(PHASES) + " |", "|---|" + "--:|" * len(PHASES)]
    for part, counted in sorted(rows.items(), key=lambda one: -sum(one[1].values())):
        lines.append(f"| {part} | " + " | ".join(f"{counted[phase] / 1024:,.0f}" for phase in PHASES) + " |")
    return lines, sorted(never, reverse=True)


def main() -> None:
    """Print the table, in KiB, and what was never read."""
    with tempfile.TemporaryDirectory() as directory:
        built, _ = make_image(Path(directory) / "opened.img", ImageOptions(kernel="deb:linux-image-amd64"))
        phases = measure(built.image)
    lines, never = table(built.manifest, phases)
    print(*lines, sep="\n")
    print(f"never read, without modules: {sum(size for size, _ in never):,} bytes", file=sys.stderr)
    for size, path in never:
        print(f"{size:>9,} {path}", file=sys.stderr)


if __name__ == "__main__":
    main()
