"""Puts the parts of the service together: who is told of what, once the outside is open."""

from __future__ import annotations

from select import poll

from modaliasd.core.settlement import Settlement
from modaliasd.service.coldplug import Walker
from modaliasd.service.devices import Registry
from modaliasd.service.loop import Service

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from modaliasd.core.ledger.write import Json
    from modaliasd.core.loading.cause import Cause
    from modaliasd.service.clients.serve import Clients
    from modaliasd.service.gate import Gate
    from modaliasd.service.intake import Intake
    from modaliasd.service.ports.loading import AnyLoader
    from modaliasd.service.ports.outside import (
        AliasTable,
        AnyResolver,
        AnySysfs,
        ClientListener,
        Clock,
        FirmwareLog,
        Flushable,
        Hook,
        Told,
        UeventSource,
        Writer,
    )
    from modaliasd.service.settle_report import SettleReport


def assemble(
    *,
    sysfs: AnySysfs,
    uevents: UeventSource,
    aliases: AliasTable,
    resolver: AnyResolver,
    gate: Gate,
    loader: AnyLoader,
    kernel_log: FirmwareLog,
    open_control: Callable[[], ClientListener] | None,
    ledger: Flushable,
    writer: Writer,
    clock: Clock,
    on_settled: Hook,
    on_freeze: Callable[[], str],
    on_hotplug: Callable[[], None],
    no_modules: str = "",
    chores: Callable[[Registry], None] | None = None,
    find_request: Callable[[str], Cause | None] | None = None,
    supervisor: Told | None = None,
    observing: bool = False,
    boot_log: Callable[[], dict[str, Json]] | None = None,
) -> Service:
    """Put the parts of the service together.

    What the first modprobe does not wait for is imported and opened after it has been started (`open_ears`).

    open_control: None for a life without clients. on_settled: called once, after the first settle, with the status of
    what has failed by then. on_freeze: makes a freeze last; gives what could not be done, "" if nothing. on_hotplug:
    called where the coldplug ends before it has settled. no_modules: why there are none for this kernel; "" where
    there are. chores: called once the first walk has ended. find_request: see Intake. supervisor, boot_log: see
    Service. observing: is nothing to be loaded, whoever asks?
    """
    settlement = Settlement()
    registry = Registry(
        sysfs=sysfs,
        aliases=aliases,
        resolver=resolver,
        gate=gate,
        loader=loader,
        listener=settlement,
        writer=writer,
        clock=clock,
        has_modules=not no_modules,
    )
    walker = Walker(sysfs=sysfs, registry=registry, loader=loader, writer=writer, clock=clock)
    poller = poll()
    # as they are before the first walk: what comes from here on is heard later
    seqnum, drops = sysfs.uevent_seqnum(), uevents.drops()

    def open_ears() -> tuple[Intake, Clients | None]:
        from modaliasd.service.ears import Clients, Intake

        intake = Intake(
            uevents=uevents,
            seqnum=seqnum,
            drops=drops,
            sysfs=sysfs,
            registry=registry,
            loader=loader,
            walker=walker,
            writer=writer,
            clock=clock,
            find_request=find_request,
        )
        if open_control is None:
            return intake, None
        clients = Clients(
            control=open_control(),
            poller=poller,
            registry=registry,
            loader=loader,
            walker=walker,
            intake=intake,
            settlement=settlement,
            gate=gate,
            on_freeze=on_freeze,
            ledger=ledger,
            writer=writer,
            clock=clock,
            observing=observing,
        )
        return intake, clients

    unloader = None
    if gate.unloads_any:
        from modaliasd.service.loads.unloader import Unloader

        unloader = Unloader(registry=registry, loader=loader, resolver=resolver, sysfs=sysfs, writer=writer)
    born_us = clock()

    def make_report() -> SettleReport:
        from modaliasd.service.settle_report import SettleReport  # not needed before the first modprobe

        return SettleReport(
            devices=registry.devices,
            loader=loader,
            sysfs=sysfs,
            kernel_log=kernel_log,
            writer=writer,
            clock=clock,
            born_us=born_us,
        )

    return Service(
        poller=poller,
        registry=registry,
        walker=walker,
        open_ears=open_ears,
        loader=loader,
        unloader=unloader,
        gate=gate,
        settlement=settlement,
        make_report=make_report,
        uevents_fileno=uevents.fileno(),
        sysfs=sysfs,
        aliases=aliases,
        ledger=ledger,
        writer=writer,
        clock=clock,
        on_settled=on_settled,
        on_hotplug=on_hotplug,
        no_modules=no_modules,
        chores=None if chores is None else lambda: chores(registry),
        supervisor=supervisor,
        boot_log=boot_log,
    )
