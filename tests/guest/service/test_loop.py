"""The daemon's loop without a kernel: what it does with what the uevent socket and /sys say."""

import threading
from typing import Any

import pytest

from modaliasd.core.device import Device, Phase
from modaliasd.core.errors import Problem
from modaliasd.core.kmod.modules_dep import Dependencies
from modaliasd.core.kmod.modules_load import Listed
from modaliasd.core.policy.rules import parse_policy
from modaliasd.linux.ledger import ERROR, INFORMATION
from modaliasd.service.devices import Registry
from modaliasd.service.intake import EVENTS_A_TURN
from modaliasd.service.loop import Service
from tests.support.fakeworld import FakeLoader, FakeResolver, Fakes, FakeSupervisor


def run_until_settled(fakes: Fakes, limit_s: float = 10.0) -> bool:
    """Run the service to its first settle; whether it came to that."""
    service = fakes.service()
    thread = threading.Thread(target=service.run, kwargs={"once": True}, daemon=True)
    thread.start()
    thread.join(limit_s)
    return not thread.is_alive()


def test_what_the_last_look_brings_is_started() -> None:
    """An event that is read just before settling has its module loaded at once, not with the next event."""
    fakes = Fakes()
    fakes.uevents.event("/devices/late", 1, MODALIAS="pci:late")
    fakes.sysfs.seqnums.extend([1])
    assert run_until_settled(fakes)
    assert fakes.loader.started == ["pci:late"]


def test_chores_come_after_the_walks_modules_and_before_the_settle() -> None:
    """They are done once, when the walk's modules have been started, and what they want is in before the settle."""
    fakes = Fakes()
    fakes.sysfs.devices = [Device("/devices/a", "pci", "pci:a")]
    seen: list[list[str]] = []

    def chores(registry: Registry) -> None:
        seen.append(list(fakes.loader.started))
        assert registry.want_listed(Listed("listed", "", "/etc/modules", 1)) == []

    fakes.chores = chores
    assert run_until_settled(fakes)
    assert seen == [["pci:a"]]
    assert fakes.loader.started == ["pci:a", "listed"]


def test_once_ends_with_the_first_settle() -> None:
    """`coldplug --once` ends when it has settled, and does not sleep until something happens."""
    fakes = Fakes()
    assert run_until_settled(fakes)
    assert any('"type":"settled"' in line for line in fakes.ledger.lines)


def test_a_refused_index_is_told() -> None:
    """What is wrong with the alias index, and the lines that are not in it, stand in the ledger from the start."""
    fakes = Fakes()
    fakes.aliases.message = "modules.alias.trie is older than modules.alias"
    fakes.aliases.warnings = (Problem("modules.alias", 7, "a [ without a ] after it"),)
    assert run_until_settled(fakes)
    warnings = [line for line in fakes.ledger.lines if '"type":"warning"' in line]
    assert len(warnings) == 2
    assert "is older than modules.alias; built from modules.alias" in warnings[0]
    assert '"line":7' in warnings[1]


def test_lines_that_are_none_are_told() -> None:
    """What the module tree's other tables have of them stands in the ledger by file and line."""
    problems = (Problem("modules.softdep", 3, "not `softdep MODULE NAME...`: 'x'"),)
    resolver = FakeResolver()
    resolver.dependencies = Dependencies("", problems=problems)
    fakes = Fakes(resolver=resolver)
    assert run_until_settled(fakes)
    [warning] = [line for line in fakes.ledger.lines if '"type":"warning"' in line]
    assert '"what":"modules.softdep","line":3,"message":"skipped: not `softdep' in warning


def test_a_damaged_index_has_all_devices_looked_up_again() -> None:
    """Damage that the check before the first settle finds is told, and a second walk matches every device anew."""
    fakes = Fakes()
    fakes.sysfs.devices.append(Device("/devices/one", "pci", "pci:one"))
    fakes.aliases.damaged = "modules.alias.trie cannot be used: damaged"
    assert run_until_settled(fakes)
    lines = fakes.ledger.lines
    assert sum('"matches":[{' in line for line in lines) == 2
    assert [line for line in lines if '"type":"walk"' in line][1].count('"reason":"index"') == 1
    assert sum("cannot be used: damaged" in line for line in lines) == 1


BROKEN = parse_policy('hotplug = "maybe"\n', "/etc/p.toml")


@pytest.mark.parametrize(
    ("more", "status", "said"),
    [
        ({}, 0, []),
        ({"policy": BROKEN}, 100, ["/etc/p.toml:1: "]),
        ({"no_modules": "no module can be loaded"}, 111, ["no module can be loaded"]),
        ({"policy": BROKEN, "no_modules": "no module"}, 111, ["no module", "/etc/p.toml:1: "]),
    ],
)
def test_what_makes_every_load_fail_is_said_and_counts(
    more: dict[str, Any], status: int, said: list[str]
) -> None:
    """A void policy and missing modules are a warning each, an error on the console, and the status."""
    fakes = Fakes(**more)
    assert fakes.service().run(once=True) == status
    warnings = [record for record in fakes.records() if record["type"] == "warning"]
    assert len(warnings) == len(said)
    assert [priority for priority, text in fakes.ledger.said if priority != INFORMATION] == [ERROR] * len(
        said
    )
    errors = [text for priority, text in fakes.ledger.said if priority == ERROR]
    assert all(text.startswith(start) for text, start in zip(errors, said, strict=True))


def test_missing_modules_are_one_line() -> None:
    """That there is no index either goes without saying."""
    fakes = Fakes(no_modules="no module can be loaded")
    fakes.aliases.message = "cannot read modules.alias"
    fakes.sysfs.devices.append(Device("/devices/one", "pci", "pci:one"))
    fakes.service().run(once=True)
    warnings = [record["what"] for record in fakes.records() if record["type"] == "warning"]
    assert warnings == ["modules"]


def test_the_hook_is_told_the_status() -> None:
    """What runs after the first settle knows of what has failed by then."""
    told: list[int] = []
    fakes = Fakes(policy=BROKEN, on_settled=told.append)
    fakes.service().run(once=True)
    assert told == [100]


def test_a_turn_dispatches_once_and_a_settled_loop_sleeps() -> None:
    """Each turn starts jobs once, that which reads the last event, too; when all is done, poll has no time limit."""
    fakes = Fakes()
    fakes.uevents.event("/devices/late", 1, MODALIAS="pci:late")
    fakes.sysfs.seqnums.extend([1])
    service = fakes.service()
    turns = 0
    while service._timeout() != -1:
        service._turn()
        turns += 1
        assert turns < 10
    assert fakes.loader.dispatches == turns
    assert fakes.loader.started == ["pci:late"]
    assert [record["type"] for record in fakes.records()][-1] == "settled"


class HungLoader(FakeLoader):
    """The load of `hung` never ends, and was told of as slow once `told`."""

    def __init__(self) -> None:
        super().__init__()
        self.told = False

    @property
    def idle(self) -> bool:
        """Never."""
        return False

    def stuck(self) -> list[str]:
        """The hung one, when it is known to be slow and nothing is left to be started."""
        return ["hung"] if self.told and self.started == self.wanted else []


def phase_of(service: Service) -> Phase:
    """Where the boot is."""
    return service._gate.phase


HOTPLUG_DENIES = parse_policy('[[rule]]\naction = "deny"\nphase = "hotplug"\n', "policy.toml")


def test_a_hung_load_does_not_keep_the_boot_for_ever() -> None:
    """Known to be slow and all else dealt with: the phase is hotplug, its rules hold, and nothing has settled."""
    fakes = Fakes(loader=HungLoader(), policy=HOTPLUG_DENIES)
    fakes.sysfs.devices.append(Device("/devices/hung", "pci", "pci:hung"))
    service = fakes.service()
    for _ in range(5):
        service._turn()
    assert phase_of(service) is Phase.COLDPLUG, "it may only take its time"
    assert isinstance(fakes.loader, HungLoader)
    fakes.loader.told = True
    fakes.uevents.event("/devices/of-the-boot", 1, MODALIAS="pci:boot")
    service._turn()
    assert phase_of(service) is Phase.HOTPLUG
    fakes.uevents.event("/devices/plugged", 2, MODALIAS="pci:plugged")
    service._take_uevents()
    verdicts = {record["devpath"]: record["verdict"] for record in fakes.records() if "verdict" in record}
    assert verdicts == {
        "/devices/hung": "allow",
        "/devices/of-the-boot": "allow",
        "/devices/plugged": "deny",
    }
    types = [record["type"] for record in fakes.records()]
    assert "settled" not in types
    assert fakes.hotplugs == 1


def test_what_is_still_in_the_socket_belongs_to_the_boot() -> None:
    """More events than a turn reads are there when the load turns out to be slow: all are of the boot."""
    fakes = Fakes(loader=HungLoader(), policy=HOTPLUG_DENIES)
    service = fakes.service()
    for _ in range(3):
        service._turn()
    assert isinstance(fakes.loader, HungLoader)
    fakes.loader.told = True
    for number in range(1, EVENTS_A_TURN + 2):
        fakes.uevents.event(f"/devices/{number}", number, MODALIAS=f"pci:{number}")
    service._turn()
    assert phase_of(service) is Phase.COLDPLUG
    service._turn()
    assert phase_of(service) is Phase.HOTPLUG
    assert {record["verdict"] for record in fakes.records() if "verdict" in record} == {"allow"}


def test_a_supervisor_is_told_how_it_goes_and_ends_the_loop() -> None:
    """It hears that the daemon serves, each settle, and the end that it asked for; that is no failure: status 0."""
    supervisor = FakeSupervisor()
    service = Fakes(supervisor=supervisor).service()
    statuses: list[int] = []
    thread = threading.Thread(target=lambda: statuses.append(service.run()), daemon=True)
    thread.start()
    while len(supervisor.told) < 2:
        thread.join(0.01)
    assert statuses == []
    supervisor.end()
    thread.join(10)
    settled = "settled: 0 devices, 0 matched, 0 bound, 0 modules loaded, 0 failed"
    assert supervisor.told == ["ready: walking /sys", settled, "stopping"]
    assert statuses == [0]


def test_what_was_found_wrong_on_the_way_here_is_told_first() -> None:
    """A ledger that was torn, one that cannot be written, and modprobe.d's lines: warnings before the first walk."""
    resolver = FakeResolver()
    problem = Problem("/etc/modprobe.d/x.conf", 3, "unknown word 'blaklist': the line is ignored")
    resolver.configuration = resolver.configuration._replace(problems=(problem,))
    fakes = Fakes(resolver=resolver)
    fakes.ledger.torn_bytes = 17
    fakes.ledger.problem = "cannot write /run/modaliasd/ledger.jsonl: No space left on device"
    fakes.service()
    kinds = [record["type"] for record in fakes.records()]
    assert kinds == ["start", "warning", "warning", "warning", "walk"]
    repaired, full, line = fakes.records()[1:4]
    assert (repaired["what"], repaired["message"][:8]) == ("ledger repaired", "17 bytes")
    assert full["message"].endswith("No space left on device; going on without it")
    assert (line["what"], line["path"], line["line"]) == ("modprobe.d", "/etc/modprobe.d/x.conf", 3)
    assert [text for priority, text in fakes.ledger.said if priority == ERROR] == [full["message"]]
