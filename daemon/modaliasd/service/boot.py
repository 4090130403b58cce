"""Opens the real world for the daemon: the boot path from exec to the loop."""

from __future__ import annotations

import gc
import posix
from select import poll
from time import CLOCK_BOOTTIME, clock_gettime_ns

from modaliasd import __version__
from modaliasd.core.device import Phase
from modaliasd.core.kmod.invocation import Flavour
from modaliasd.core.loading.priority import Rank
from modaliasd.core.settings import parse_settings
from modaliasd.linux.bootstate import count_life, end_coldplug, first_settle, freeze, phase
from modaliasd.linux.config import read_command_line, read_config, read_text
from modaliasd.linux.descriptors import keep_reserve, with_reserve
from modaliasd.linux.indexfile import IndexReason, open_index
from modaliasd.linux.kmsg import KernelLog
from modaliasd.linux.ledger import Ledger
from modaliasd.linux.lock import acquire
from modaliasd.linux.module_tables import find_hash_drivers, open_resolver
from modaliasd.linux.netlink import RECEIVE_BUFFER, subscribe
from modaliasd.linux.paths import (
    CONTROL,
    INSMOD,
    KMSG,
    LEDGER,
    LOCK,
    MODPROBE,
    MODULES,
    POLICY,
    REQUESTS,
    SETTLED_HOOK,
    SHELL,
)
from modaliasd.linux.process import give_way, spare_self
from modaliasd.linux.process import start as start_child
from modaliasd.linux.procmodules import read_live_modules
from modaliasd.linux.sysfs import Sysfs
from modaliasd.service.assembly import assemble
from modaliasd.service.gate import Gate
from modaliasd.service.loads.loader import Loader
from modaliasd.service.loads.tools import Tools
from modaliasd.service.writer import LedgerWriter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as RawSocket
    from collections.abc import Callable

    from modaliasd.core.kmod.resolve import Resolver
    from modaliasd.core.ledger.write import Json
    from modaliasd.core.loading.cause import Cause
    from modaliasd.core.policy.rules import Policy
    from modaliasd.core.settings import Settings
    from modaliasd.linux.control import Control
    from modaliasd.linux.indexfile import AliasIndex
    from modaliasd.linux.process import Child
    from modaliasd.service.devices import Registry
    from modaliasd.service.ports.loading import AnyLoader
    from modaliasd.service.ports.outside import Told

NOTIFY_SOCKET = b"NOTIFY_SOCKET"  # where a supervisor wants to be told (linux/fullsystem/supervisor.py)
GARBAGE_THRESHOLD = 20_000  # new containers before the collector looks; a coldplug of 500 devices makes fewer


def boottime_us() -> int:
    """Microseconds of CLOCK_BOOTTIME: they go on while the machine is suspended, and nobody can set them."""
    return clock_gettime_ns(CLOCK_BOOTTIME) // 1000


def serve(
    *, once: bool = False, observe: bool = False, ready_fd: int = -1, client: RawSocket | None = None
) -> int:
    """Open everything and serve: until SIGTERM, or until the first settle with `once`; 1 if a load failed then.

    observe: load nothing, and change nothing of the system's; tell what others load, and for which device. ready_fd: a
    descriptor to write a newline to once uevents and clients are heard; -1 for none.
    client: whoever looks for the root file system, connected already; what waits for the first settle is left to the
    daemon after this one then. Raises HeldError where another process does so, before anything of its is touched.
    """
    command_line = read_command_line()
    settings = parse_settings(command_line)
    supervisor = None
    if ready_fd >= 0 or NOTIFY_SOCKET in posix.environ:
        from modaliasd.linux.fullsystem.supervisor import (
            open_supervisor,  # an image's init does not ask for that
        )

        supervisor = open_supervisor(ready_fd)
    if settings.off and not once:
        return _idle(supervisor)
    acquire(LOCK)  # held until this process ends
    spare_self()
    kernel = posix.uname().release
    modules_dir = f"{MODULES}/{kernel}"
    sysfs = Sysfs()
    sysfs.require()
    # first of all: what happens from here on is told
    uevents = subscribe(settings.receive_buffer or RECEIVE_BUFFER)
    configuration = read_config(command_line=command_line)
    configuration = configuration._replace(problems=settings.problems + configuration.problems)
    index = open_index(modules_dir, tolerant=True)
    if observe and index.reason is IndexReason.MISSING and not _missing_modules(modules_dir, kernel):
        index.message = ""  # a full system has none, which is nothing to warn of
    resolver = open_resolver(configuration, index, modules_dir)
    told_log = KMSG if settings.kernel_log and not observe else ""
    ledger = Ledger(LEDGER, told_log, settings.channel, settings.ledger_limit)
    cpus = posix.cpu_count() or 1
    tools = Tools(MODPROBE, INSMOD, SHELL, _flavour(), modules_dir, cpus)
    writer = LedgerWriter(ledger=ledger, clock=boottime_us)
    gate = Gate(
        policy=None if observe else read_policy(),
        phase=Phase.COLDPLUG if observe else phase(),
        resolver=resolver,
        follows_softdeps=tools.flavour is Flavour.KMOD,
        sysfs=sysfs,
        writer=writer,
        clock=boottime_us,
    )
    kernel_log = KernelLog()
    loader: AnyLoader
    if observe:
        loader = _onlooker(sysfs, writer, resolver)
    else:
        loader = Loader(
            tools=tools,
            sysfs=sysfs,
            writer=writer,
            kernel_log=kernel_log,
            gate=gate,
            clock=boottime_us,
            live=read_live_modules(),
            limit=settings.jobs or _default_job_limit(cpus),
            alone=frozenset(settings.sequential),
            ranks=ranks_of(settings, index, resolver, modules_dir),
            hold=Rank.BUS if client is not None else None,
        )
    start: dict[str, Json] = {
        "version": __version__,
        "kernel": kernel,
        "pid": posix.getpid(),
        "respawn": count_life(),
        "mode": "observe" if observe else "",
        "modprobe": tools.flavour.value,
        "index": index.origin.value,
        "aliases": index.aliases,
    }
    at_first = gate.phase is Phase.COLDPLUG

    def chores(registry: Registry) -> None:
        from modaliasd.service.chores import do_chores  # not needed before the first modprobe

        do_chores(
            modules_dir=modules_dir,
            command_line=command_line,
            load_listed=at_first,
            registry=registry,
            writer=writer,
        )

    service = assemble(
        sysfs=sysfs,
        uevents=uevents,
        aliases=index,
        resolver=resolver,
        gate=gate,
        loader=loader,
        kernel_log=kernel_log,
        open_control=None if once else lambda: _control(client),
        ledger=ledger,
        writer=writer,
        clock=boottime_us,
        on_settled=_no_hook
        if once or observe or client is not None
        else _settled_hook(poweroff=settings.poweroff),
        on_freeze=freeze,
        on_hotplug=_nothing if observe else end_coldplug,
        no_modules=_missing_modules(modules_dir, kernel),
        chores=None if once or observe else chores,
        find_request=_find_request,
        supervisor=supervisor,
        observing=observe,
        boot_log=None if once or start["respawn"] else _read_boot_log,
    )
    keep_reserve()
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD)
    gc.enable()
    try:
        wanted = () if observe else settings.load
        service.begin(start, configuration.problems, resolver.dependencies.problems, wanted)
        return service.run(once=once)
    finally:
        ledger.flush()  # what led to an error shall be told before it (failure.py)


def ranks_of(settings: Settings, index: AliasIndex, resolver: Resolver, modules_dir: str) -> dict[str, Rank]:
    """Return the modules whose rank does not depend on who asks: what the command line says, and what speeds up all."""
    ranks = dict.fromkeys(find_hash_drivers(index, resolver.dependencies, modules_dir), Rank.FIRST)
    ranks |= dict.fromkeys(settings.last, Rank.LATE)
    ranks |= dict.fromkeys(settings.first, Rank.FIRST)
    return ranks


def _onlooker(sysfs: Sysfs, writer: LedgerWriter, resolver: Resolver) -> AnyLoader:
    """Return what stands in the loader's place where others load."""
    from modaliasd.service.loads.onlooker import Onlooker

    return Onlooker(
        sysfs=sysfs,
        writer=writer,
        dependencies=lambda: resolver.dependencies,
        clock=boottime_us,
        live=read_live_modules(),
    )


def _control(client: RawSocket | None) -> Control:
    from modaliasd.service.ears import Control

    control = Control(CONTROL)
    if client is not None:
        control.adopt(client)
    return control


def read_policy() -> Policy | None:
    """Read the policy; None where there is none. One that cannot be read denies everything."""
    try:
        text = read_text(POLICY)
    except FileNotFoundError:
        return None
    except OSError as e:
        from modaliasd.core.policy.rules import Mistake, Policy

        return Policy(POLICY, mistakes=(Mistake(1, f"cannot be read: {e.strerror}"),))
    from modaliasd.core.policy.rules import parse_policy

    return parse_policy(text, POLICY)


def _find_request(module: str) -> Cause | None:
    """Why the kernel itself had this module inserted; None if it had not."""

    def find() -> Cause | None:
        from modaliasd.linux.named.requests import find_request  # modules that come so are few

        return find_request(module, REQUESTS)

    return with_reserve(find)


def _read_boot_log() -> dict[str, Json]:
    """Return the fields of the `boot` line."""
    from modaliasd.core.ledger.bootlog import boot_fields, is_end
    from modaliasd.linux.kmsg import read_boot_log

    return boot_fields(read_boot_log(is_end))


def _missing_modules(modules_dir: str, kernel: str) -> str:
    """Why no module of this kernel can be found; "" where they have a modules.dep."""
    try:
        posix.stat(f"{modules_dir}/modules.dep")
    except FileNotFoundError:
        pass
    except OSError:
        return ""  # whoever reads it says why that cannot be done
    else:
        return ""
    try:
        others = sorted(posix.listdir(MODULES))
    except OSError:
        others = []
    if f"{kernel}.squashfs" in others:
        why = f"{modules_dir}.squashfs is not mounted; the kernel's log says why"
    elif kernel in others:
        why = f"there is no {modules_dir}/modules.dep; depmod makes it"
    else:
        there = f"there are modules for {', '.join(others)}" if others else "there are none for any"
        why = (
            f"there is no {modules_dir} for the running kernel {kernel}, {there}; "
            "boot the kernel that the image was made for, or make the image for this one"
        )
    return f"no module can be loaded: {why}"


def _idle(supervisor: Told | None) -> int:
    """`modaliasd.off` on the kernel's command line: stay, so that init does not start it again, and do nothing."""
    if supervisor is not None:
        supervisor.ready("modaliasd.off is on the kernel's command line")
    poll().poll()
    return 0


def _flavour() -> Flavour:
    """Whose modprobe this is, told by what its path leads to."""
    try:
        return Flavour.BUSYBOX if posix.readlink(MODPROBE).endswith("busybox") else Flavour.KMOD
    except OSError:
        return Flavour.KMOD


def _default_job_limit(cpus: int) -> int:
    """Return how many modprobes run at once where the command line does not say: enough that some do not sleep."""
    return 24 + 8 * cpus


def _settled_hook(*, poweroff: bool) -> Callable[[int], Child | None]:
    """Make the function to call after a life's first settle, with the status of what has failed by then, else 0.

    It gives way to modprobe, and once a boot runs /etc/settled.d's executables; with `poweroff` the machine ends then.
    """

    def run_hook(status: int) -> Child | None:
        give_way()  # during the coldplug there is more to be started, now there is not
        if not first_settle():
            return None
        try:
            return start_child(SETTLED_HOOK, [str(status), *(["poweroff"] if poweroff else [])])
        except OSError:
            return None

    return run_hook


def _nothing() -> None:
    return


def _no_hook(_status: int) -> Child | None:
    return None
