"""How the coldplug grows with the machine: 100, 1,000, 10,000 devices in a made-up /sys. `make bench-growth`.

Each size is walked, matched against all of Debian's aliases, resolved and written to a ledger by an interpreter of
its own, started as the guest starts it; no module is loaded. Time is the processor's; memory is the most that the
process had resident (VmHWM of proc(5); getrusage's ru_maxrss would count the parent that forked it).
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from hostbuild.kernels.kernel import require_kernel
from hostbuild.ui import Silent
from modaliasd.core.index import lookup
from modaliasd.core.index.format import INDEX_NAME

SIZES = (100, 1_000, 10_000)
WITH_MODALIAS = 6  # one device of so many has one, as on real machines
DAEMON = Path(__file__).resolve().parent.parent / "daemon"
CHILD = """
import sys
sys.path.insert(0, sys.argv[1])
import posix
from time import process_time
from modaliasd.service.boot import *
from modaliasd.linux.config import read_text
from modaliasd.core.device import Phase
from modaliasd.core.kmod.modules_dep import Dependencies, parse_builtin, parse_softdeps
from modaliasd.core.kmod.resolve import Resolver
from modaliasd.core.settlement import Settlement
from modaliasd.service.devices import Registry
from modaliasd.service.coldplug import Walker
sys_root, modules, ledger = sys.argv[2:5]
began = process_time()
configuration = read_config("/nowhere")
index = open_index(modules)
builtin, _ = parse_builtin(read_text(modules + "/modules.builtin"))
softdeps, _ = parse_softdeps(read_text(modules + "/modules.softdep"))
dependencies = Dependencies(read_text(modules + "/modules.dep"), builtin)
resolver = Resolver(configuration, dependencies, index.lookup, softdeps)
book = Ledger(ledger)
sysfs = Sysfs(sys_root)
tools = Tools("", "", "", Flavour.BUSYBOX, modules)
writer = LedgerWriter(ledger=book, clock=boottime_us)
gate = Gate(
    policy=None, phase=Phase.COLDPLUG, resolver=resolver, follows_softdeps=False, sysfs=sysfs, writer=writer,
    clock=boottime_us,
)
loader = Loader(
    tools=tools, sysfs=sysfs, writer=writer, kernel_log=KernelLog("/nowhere"), gate=gate, clock=boottime_us, live=[],
    limit=0,
)
registry = Registry(
    sysfs=sysfs, aliases=index, resolver=resolver, gate=gate, loader=loader, listener=Settlement(), writer=writer,
    clock=boottime_us,
)
ready = process_time()
walker = Walker(sysfs=sysfs, registry=registry, loader=loader, writer=writer)
walker.request("coldplug")
while walker.walking:
    walker.walk_on()
    book.flush()
ended = process_time()
resident = read_text("/proc/self/status").partition("VmHWM:")[2].split()[0]
print(ready - began, ended - ready, resident, book.size)
"""


def main() -> None:
    """Measure each size, print the table."""
    kernel = require_kernel("deb:linux-image-amd64", None, Silent())
    assert kernel.indexes is not None
    print("| devices | with a modalias | start, ms | walk, ms | ms a device | RSS, MiB | ledger, KiB |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        modules = root / "modules"
        copy_indexes(kernel.indexes, modules)
        aliases = made_up_modaliases(modules / "modules.alias")
        for size in SIZES:
            sys_root = make_sys(root / f"sys{size}", size, aliases)
            script = root / "child.py"
            script.write_text(CHILD)
            argv = [sys.executable, "-I", "-S", script, DAEMON, sys_root, modules, root / f"ledger{size}"]
            done = subprocess.run(argv, capture_output=True, text=True, check=True)
            start, walk, rss, ledger = map(float, done.stdout.split())
            print(
                f"| {size:,} | {size // WITH_MODALIAS:,} | {start * 1000:.0f} | {walk * 1000:.0f} "
                f"| {walk * 1000 / size:.3f} | {rss / 1024:.1f} | {ledger / 1024:,.0f} |"
            )


def copy_indexes(source: Path, target: Path) -> None:
    """Copy what the daemon reads of a module tree, and make its own index."""
    target.mkdir()
    names = ("alias", "dep", "builtin", "softdep", "order", "builtin.modinfo")
    texts = {
        name: (source / f"modules.{name}").read_bytes()
        for name in names
        if (source / f"modules.{name}").is_file()
    }
    for name in names:
        (target / f"modules.{name}").write_bytes(texts.get(name, b""))
    index = lookup.build(texts["alias"], texts.get("order", b""), texts.get("builtin.modinfo", b""))
    (target / INDEX_NAME).write_bytes(index)


def made_up_modaliases(table: Path) -> list[str]:
    """Return a modalias for every 40th pattern: its wildcards filled in."""
    patterns = [line.split()[1] for line in table.read_text().splitlines() if line.startswith("alias pci:")]
    return [re.sub(r"\*", "00000000", pattern) for pattern in patterns[::40]]


def make_sys(root: Path, size: int, modaliases: list[str]) -> Path:
    """Make a /sys of so many devices: PCI ones with a modalias, class devices without."""
    for name in ("bus/pci/devices", "class/block", "devices/pci0000:00", "kernel"):
        (root / name).mkdir(parents=True)
    for number in range(size):
        kind, link = ("pci", "bus/pci/devices") if number % WITH_MODALIAS == 0 else ("blk", "class/block")
        folder = root / f"devices/pci0000:00/{kind}{number}"
        folder.mkdir()
        modalias = f"MODALIAS={modaliases[number % len(modaliases)]}\n" if kind == "pci" else ""
        (folder / "uevent").write_text(f"MAJOR=8\nMINOR={number}\nDEVNAME=d{number}\n{modalias}")
        (root / link / f"{kind}{number}").symlink_to(f"../../../devices/pci0000:00/{kind}{number}")
    return root


if __name__ == "__main__":
    main()
