"""The daemon's loop without a kernel: what it does with what the uevent socket and /sys say."""

import threading

from tests.support.fakeworld import Fakes


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


def test_once_ends_with_the_first_settle() -> None:
    """`coldplug --once` ends when it has settled, and does not sleep until something happens."""
    fakes = Fakes()
    assert run_until_settled(fakes)
    assert any('"type":"settled"' in line for line in fakes.ledger.lines)
