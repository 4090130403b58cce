"""core/uevent/relay.py and core/uevent/monitor.py: the order of what is sent on, and its bytes."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from modaliasd.core.uevent.monitor import monitor_message, murmur2
from modaliasd.core.uevent.relay import Relay

PATHS = ["/a", "/a/b", "/a/b/c", "/ab", "/d", "/d/e"]
Step = tuple[str, str, tuple[str, ...]]


def related(one: str, other: str) -> bool:
    return one == other or one.startswith(other + "/") or other.startswith(one + "/")


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["offer", "end"]),
        st.sampled_from(PATHS),
        st.lists(st.sampled_from("xyz"), max_size=2, unique=True).map(tuple),
    ),
    max_size=30,
)


@given(STEPS)
def test_relatives_keep_their_order_and_nothing_is_lost(steps: list[Step]) -> None:
    """Events of one device and of those above and below it go out in their order; in the end all have gone, once."""
    relay, pending = Relay(), set[str]()
    offered: list[tuple[str, bytes]] = []
    out: list[bytes] = []
    for kind, path, loads in steps:
        if kind == "offer":
            pending.update(loads)
            offered.append((path, b"%d" % len(offered)))
            out += relay.offer(path, offered[-1][1], loads)
        else:
            pending.difference_update(loads)
            out += relay.release(pending.__contains__)
    out += relay.release(lambda _module: False)
    assert len(relay) == 0
    assert sorted(out) == sorted(message for _, message in offered)
    place = {message: at for at, message in enumerate(out)}
    for at, (path, message) in enumerate(offered):
        for other, later in offered[at + 1 :]:
            assert not related(path, other) or place[message] < place[later]


def test_an_event_waits_for_its_loads() -> None:
    """A device's event goes out when its module has been dealt with; its children's wait behind it, others pass."""
    relay = Relay()
    assert relay.offer("/pci/nic", b"add nic", ["e1000"]) == []
    assert relay.offer("/pci/nic/net/eth0", b"add eth0", []) == []
    assert relay.offer("/pci/other", b"add other", []) == [b"add other"]
    assert relay.release({"e1000"}.__contains__) == []
    assert relay.release(set[str]().__contains__) == [b"add nic", b"add eth0"]


def test_murmur2_of_nothing() -> None:
    """The hash of no bytes with seed 0 is 0: libudev leaves the filter of a missing DEVTYPE at that."""
    assert murmur2(b"") == 0


@given(st.binary(max_size=40))
def test_murmur2_is_that_of_its_definition(data: bytes) -> None:
    """The hash agrees with a transcription of the algorithm over 32-bit words by struct."""
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h, rest = len(data), data
    while len(rest) >= 4:
        (k,) = struct.unpack("<I", rest[:4])
        k = (k * m) & mask
        k = (k ^ (k >> 24)) * m & mask
        h = ((h * m) & mask) ^ k
        rest = rest[4:]
    for at in reversed(range(len(rest))):
        h ^= rest[at] << (8 * at)
    if rest:
        h = (h * m) & mask
    h = ((h ^ (h >> 13)) * m) & mask
    assert murmur2(data) == h ^ (h >> 15)


def test_the_message_is_libudevs() -> None:
    """Header of 40 bytes, magic and hashes in network order, the kernel's properties untouched behind it."""
    event = b"add@/devices/x\0ACTION=add\0DEVPATH=/devices/x\0SUBSYSTEM=usb\0DEVTYPE=usb_device\0SEQNUM=5\0"
    message = monitor_message(event, "usb", "usb_device")
    properties = event[event.index(b"\0") + 1 :]
    assert message[:8] == b"libudev\0"
    assert message[8:12] == bytes.fromhex("feedcafe")
    assert struct.unpack("=3I", message[12:24]) == (40, 40, len(properties))
    assert struct.unpack(">2I", message[24:32]) == (murmur2(b"usb"), murmur2(b"usb_device"))
    assert message[32:40] == bytes(8)
    assert message[40:] == properties
