"""Opens the real world for the daemon: the boot path from exec to the loop."""

from __future__ import annotations

import gc
import posix
from select import poll
from time import CLOCK_BOOTTIME, clock_gettime_ns

from modaliasd import __version__
from modaliasd.assembly import assemble
from modaliasd.children import start as start_child
from modaliasd.config import read_config, read_text
from modaliasd.control import Control
from modaliasd.core.errors import UsageError
from modaliasd.core.invocation import Flavour
from modaliasd.core.priority import Rank
from modaliasd.descriptors import keep_reserve
from modaliasd.gate import Gate
from modaliasd.indexfile import open_index
from modaliasd.kernelmodules import read_live_modules
from modaliasd.kmsg import KernelLog
from modaliasd.ledger import Ledger, LedgerWriter
from modaliasd.loader import Loader, Tools
from modaliasd.marks import count_life, end_coldplug, first_settle, freeze, phase
from modaliasd.netlink import RECEIVE_BUFFER, subscribe
from modaliasd.paths import (
    CONTROL,
    INSMOD,
    KMSG,
    LEDGER,
    MODPROBE,
    MODULES,
    POLICY,
    SETTLED_HOOK,
    SHELL,
)
from modaliasd.sysfs import Sysfs
from modaliasd.tables import find_hash_drivers, open_resolver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from modaliasd.children import Child
    from modaliasd.core.policy import Policy
    from modaliasd.core.record import Json

GARBAGE_THRESHOLD = 20_000  # new containers before the collector looks; a coldplug of 500 devices makes fewer


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
    configuration = read_config()
    settings = configuration.settings
    if "off" in settings and not once:
        return _idle()
    sysfs = Sysfs()
    sysfs.require()
    uevents = subscribe(_buffer_size(settings))  # first of all: what happens from here on is told
    index = open_index(modules_dir, tolerant=True)
    resolver = open_resolver(configuration, index, modules_dir)
    ledger = Ledger(LEDGER, "" if settings.get("log") == "ledger" else KMSG, settings.get("channel", ""))
    cpus = posix.cpu_count() or 1
    tools = Tools(MODPROBE, INSMOD, SHELL, _flavour(), modules_dir, cpus)
    ranks = dict.fromkeys(find_hash_drivers(index, resolver.dependencies, modules_dir), Rank.FIRST)
    ranks |= dict.fromkeys(_modules(settings.get("last", "")), Rank.LATE)
    ranks |= dict.fromkeys(_modules(settings.get("first", "")), Rank.FIRST)
    writer = LedgerWriter(ledger=ledger, clock=boottime_us)
    gate = Gate(
        policy=_read_policy(),
        phase=phase(),
        resolver=resolver,
        follows_softdeps=tools.flavour is Flavour.KMOD,
        sysfs=sysfs,
        writer=writer,
        clock=boottime_us,
    )
    loader = Loader(
        tools=tools,
        sysfs=sysfs,
        writer=writer,
        kernel_log=KernelLog(),
        gate=gate,
        clock=boottime_us,
        live=read_live_modules(),
        limit=_job_limit(settings, cpus),
        alone=frozenset(_modules(settings.get("sequential", ""))),
        ranks=ranks,
    )
    start: dict[str, Json] = {
        "version": __version__,
        "kernel": kernel,
        "pid": posix.getpid(),
        "respawn": count_life(),
        "modprobe": tools.flavour.value,
        "index": index.origin.value,
        "aliases": index.aliases,
    }
    service = assemble(
        sysfs=sysfs,
        uevents=uevents,
        aliases=index,
        resolver=resolver,
        gate=gate,
        loader=loader,
        control=None if once else Control(CONTROL),
        ledger=ledger,
        writer=writer,
        clock=boottime_us,
        on_settled=_no_hook if once else _settled_hook,
        on_freeze=freeze,
        on_hotplug=end_coldplug,
    )
    keep_reserve()
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD)
    gc.enable()
    service.begin(start, configuration, _names(settings.get("load", "")))
    return service.run(once=once)


def _read_policy() -> Policy | None:
    """The policy; None where there is none. One that cannot be read denies everything."""
    try:
        text = read_text(POLICY)
    except FileNotFoundError:
        return None
    except OSError as e:
        from modaliasd.core.policy import Mistake, Policy

        return Policy(POLICY, mistakes=(Mistake(1, f"cannot be read: {e.strerror}"),))
    from modaliasd.core.policy import parse_policy

    return parse_policy(text, POLICY)


def _idle() -> int:
    """`modaliasd.off` on the kernel's command line: stay, so that init does not start it again, and do nothing."""
    poll().poll()
    return 0


def _flavour() -> Flavour:
    """Whose modprobe this is, told by what its path leads to."""
    try:
        return Flavour.BUSYBOX if posix.readlink(MODPROBE).endswith("busybox") else Flavour.KMOD
    except OSError:
        return Flavour.KMOD


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in text.split(",") if name)


def _modules(text: str) -> tuple[str, ...]:
    return tuple(name.replace("-", "_") for name in _names(text))


def _job_limit(settings: dict[str, str], cpus: int) -> int:
    """How many modprobes run at once: `modaliasd.jobs=`, or enough that some do not sleep."""
    text = settings.get("jobs", "")
    if text.isdigit() and int(text) > 0:
        return int(text)
    return 24 + 8 * cpus


def _buffer_size(settings: dict[str, str]) -> int:
    """Bytes of the uevent socket's buffer: `modaliasd.rcvbuf=`, else plenty."""
    text = settings.get("rcvbuf", "")
    return int(text) if text.isascii() and text.isdigit() and 0 < int(text) < 1 << 31 else RECEIVE_BUFFER


def _settled_hook() -> Child | None:
    """After a life's first settle: give way to modprobe, and run /etc/settled.d's executables, once a boot."""
    _give_way()
    if not first_settle():
        return None
    try:
        return start_child(SETTLED_HOOK, [])
    except OSError:
        return None


def _give_way() -> None:
    """Never take the processor away from a modprobe that has just been started; children are as they were before.

    A process that has slept and wakes does that, even by the end of its own vfork(2), unless it is SCHED_BATCH
    (kernel/sched/fair.c, check_preempt_wakeup). During the coldplug that is right: there is more to be started.
    """
    try:
        posix.sched_setscheduler(0, posix.SCHED_BATCH | posix.SCHED_RESET_ON_FORK, posix.sched_param(0))
    except OSError:
        return


def _no_hook() -> Child | None:
    return None
