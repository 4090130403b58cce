"""Opens the real world for the daemon: the boot path from exec to the loop."""

from __future__ import annotations

import posix
from time import CLOCK_BOOTTIME, clock_gettime_ns

from modaliasd import __version__
from modaliasd.control import Control
from modaliasd.core.errors import UsageError
from modaliasd.core.moddep import Dependencies
from modaliasd.core.scheduler import Needs, Scheduler
from modaliasd.indexfile import open_index
from modaliasd.kmsg import KernelLog
from modaliasd.ledger import Ledger
from modaliasd.loader import Loader, read_live_modules
from modaliasd.modprobe import Modprobe
from modaliasd.netlink import UeventSocket
from modaliasd.paths import CONTROL, LEDGER, MODULES, RUN_DIRECTORY, SETTLED_HOOK
from modaliasd.service import Service, World
from modaliasd.sysfs import Sysfs

def run(arguments: list[str]) -> int:
    """`modaliasd run`: serve until SIGTERM."""
    _refuse(arguments, "run")
    return _serve(once=False)


def coldplug_once(arguments: list[str]) -> int:
    """`modaliasd coldplug --once`: serve until the first settle; 1 if a load failed."""
    _refuse(arguments, "coldplug --once")
    return _serve(once=True)


def _refuse(arguments: list[str], verb: str) -> None:
    if arguments:
        raise UsageError(f"`modaliasd {verb}` takes no argument; got `{' '.join(arguments)}`")


def boottime_us() -> int:
    """Microseconds of CLOCK_BOOTTIME: they go on while the machine is suspended, and nobody can set them."""
    return clock_gettime_ns(CLOCK_BOOTTIME) // 1000


def _serve(*, once: bool) -> int:
    kernel = posix.uname().release
    modules_dir = f"{MODULES}/{kernel}"
    command_line = _read("/proc/cmdline").decode("utf-8", "surrogateescape").split()
    settings = dict(_setting(word) for word in command_line if word.startswith("modaliasd."))
    sysfs = Sysfs()
    sysfs.require()
    uevents = UeventSocket()  # before anything is looked at: what happens from here on is told
    index = open_index(modules_dir)
    dependencies = Dependencies(_read(f"{modules_dir}/modules.dep").decode("utf-8", "surrogateescape"))

    def needs_of(module: str) -> Needs:
        order = dependencies.load_order(module)
        return Needs(before=order.modules[:-1], missing=order.missing)

    def module_path(module: str) -> str:
        file = dependencies.find(module)
        return file.path if file else ""

    ledger = Ledger(LEDGER, "/dev/kmsg", settings.get("channel", ""))
    modprobe = Modprobe()
    loader = Loader(
        Scheduler(needs_of, _job_limit()), modprobe, sysfs, ledger, KernelLog(), boottime_us, read_live_modules()
    )
    start: dict[str, Json] = {
        "version": __version__,
        "kernel": kernel,
        "pid": posix.getpid(),
        "index": index.origin.value,
        "aliases": index.aliases,
    }
    control = None if once else Control(CONTROL)
    world = World(
        sysfs, uevents, index, loader, ledger, control, boottime_us, module_path, _settled_hook(modprobe, once=once), start
    )
    return Service(world).run(once=once)
