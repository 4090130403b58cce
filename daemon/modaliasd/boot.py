"""Opens the real world for the daemon: the boot path from exec to the loop."""

from __future__ import annotations

import posix
from time import CLOCK_BOOTTIME, clock_gettime_ns

from modaliasd import __version__
from modaliasd.children import start as start_child
from modaliasd.control import Control
from modaliasd.core.errors import UsageError
from modaliasd.core.moddep import Dependencies
from modaliasd.core.scheduler import Needs, Scheduler
from modaliasd.indexfile import open_index
from modaliasd.kmsg import KernelLog
from modaliasd.ledger import Ledger
from modaliasd.loader import Loader, read_live_modules
from modaliasd.netlink import UeventSocket
from modaliasd.paths import CONTROL, LEDGER, MODPROBE, MODULES, SETTLED_HOOK, SETTLED_MARK
from modaliasd.service import Service, World
from modaliasd.sysfs import Sysfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from modaliasd.children import Child
    from modaliasd.core.record import Json


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
    loader = Loader(
        Scheduler(needs_of, _job_limit()),
        MODPROBE,
        sysfs,
        ledger,
        KernelLog(),
        boottime_us,
        read_live_modules(),
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
        sysfs,
        uevents,
        index,
        loader,
        ledger,
        control,
        boottime_us,
        module_path,
        _no_hook if once else _settled_hook,
        start,
    )
    return Service(world).run(once=once)


def _setting(word: str) -> tuple[str, str]:
    """`modaliasd.KEY=VALUE` of the kernel's command line; the value is empty where there is none."""
    key, _, value = word.removeprefix("modaliasd.").partition("=")
    return key, value


def _job_limit() -> int:
    """How many modprobes run at once: enough to fill the time in which probes sleep."""
    return 2 + 2 * (posix.cpu_count() or 1)


def _settled_hook() -> Child | None:
    """Run /etc/settled.d's executables, once a boot: a respawned daemon finds the mark of its predecessor."""
    try:
        posix.close(posix.open(SETTLED_MARK, posix.O_CREAT | posix.O_EXCL | posix.O_WRONLY, 0o644))
        return start_child(SETTLED_HOOK, [])
    except OSError:
        return None


def _no_hook() -> Child | None:
    return None


def _read(path: str) -> bytes:
    """The whole file; nothing where it cannot be read."""
    try:
        descriptor = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return b""
    chunks: list[bytes] = []
    try:
        while chunk := posix.read(descriptor, 1 << 20):
            chunks.append(chunk)
    finally:
        posix.close(descriptor)
    return b"".join(chunks)
