"""What counts as a uevent, and that no bytes at all make anything else of it than a FormatError."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from modaliasd.core.errors import FormatError
from modaliasd.core.uevent.parse import Action, device_from_env, parse_uevent, parse_uevent_file

GOOD = b"add@/devices/x\0ACTION=add\0DEVPATH=/devices/x\0SUBSYSTEM=pci\0MODALIAS=pci:x\0SEQNUM=17\0"


def test_a_uevent() -> None:
    """Action, path, number and every field come out."""
    event = parse_uevent(GOOD)
    assert (event.action, event.devpath, event.seqnum) == (Action.ADD, "/devices/x", 17)
    assert event.env["MODALIAS"] == "pci:x"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (GOOD[:-1], "NUL"),
        (b"", "NUL"),
        (b"\0", "header"),
        (b"libudev\0\xfe\xed\xca\xfe\0", "header"),
        (GOOD.replace(b"add@/", b"add@"), "header"),
        (GOOD.replace(b"add@", b"remove@"), "disagree"),
        (GOOD.replace(b"DEVPATH=/devices/x", b"DEVPATH=/devices/y"), "disagree"),
        (GOOD.replace(b"SUBSYSTEM=pci", b"SUBSYSTEM"), "without '='"),
        (GOOD.replace(b"SEQNUM=17", b"SEQNUM=0x11"), "SEQNUM"),
        (GOOD.replace(b"SEQNUM=17", "SEQNUM=²".encode()), "SEQNUM"),
        (GOOD.replace(b"SEQNUM=17\0", b""), "SEQNUM"),
        (GOOD.replace(b"SEQNUM=17", b"SEQNUM=" + b"9" * 5000), "SEQNUM"),
        (GOOD.replace(b"add", b"explode"), "unknown action"),
    ],
)
def test_what_is_none(data: bytes, words: str) -> None:
    """Each way of not being a uevent is named."""
    with pytest.raises(FormatError, match=words):
        parse_uevent(data)


@given(st.binary(max_size=400) | st.lists(st.binary(max_size=20), max_size=8).map(b"\0".join))
@example(GOOD)
def test_bytes_are_a_uevent_or_an_error(data: bytes) -> None:
    """Whatever comes is read or refused."""
    try:
        event = parse_uevent(data)
    except FormatError:
        return
    assert event.devpath.startswith("/")


@given(st.binary(max_size=300).filter(lambda data: b"\0" not in data))
@example(b"-rf $(reboot); `x` '\"\n\\ /../ \xff\xfe")
@example(b"x" * 100_000)
@example(b"\n\n")
def test_a_modalias_comes_through_as_it_is(modalias: bytes) -> None:
    """Options, quotes, other bytes than UTF-8: it is text, and goes back to the same bytes; a newline parts two."""
    event = parse_uevent(GOOD.replace(b"pci:x", b"m:" + modalias + b"."))
    device = device_from_env(event.devpath, "pci", event.env)
    lines = dict.fromkeys(line for line in (b"m:" + modalias + b".").split(b"\n") if line)
    assert device.modalias.encode("utf-8", "surrogateescape") == b"\n".join(lines)


def test_the_newline_of_hd_audio_is_no_part_of_it() -> None:
    """The kernel ends an HD-audio codec's modalias in a newline (sound/hda/hdac_device.c)."""
    assert device_from_env("/devices/x", "hdaudio", {"MODALIAS": "hdaudio:v1\n"}).modalias == "hdaudio:v1"


@given(st.binary(max_size=200))
def test_a_uevent_file_is_always_read(content: bytes) -> None:
    """Lines that are no KEY=VALUE are passed over."""
    assert all("\n" not in key for key in parse_uevent_file(content))


def test_two_modaliases_of_one_device() -> None:
    """ACPI sends MODALIAS twice where a device has a device tree's `compatible`, too; each is kept, once, in order."""
    event = parse_uevent(
        GOOD.replace(b"MODALIAS=pci:x", b"MODALIAS=acpi:A:\0MODALIAS=of:B\0MODALIAS=acpi:A:")
    )
    assert device_from_env("/devices/x", "acpi", event.env).modalias == "acpi:A:\nof:B"
    env = parse_uevent_file(b"MODALIAS=acpi:A:\nDRIVER=x\nMODALIAS=of:B\n")
    device = device_from_env("/devices/x", "acpi", env)
    assert (device.modalias, device.driver) == ("acpi:A:\nof:B", "x")
    twice = parse_uevent(GOOD.replace(b"SUBSYSTEM=pci", b"SUBSYSTEM=a\0SUBSYSTEM=pci"))
    assert twice.env["SUBSYSTEM"] == "pci"


def test_the_node_in_a_device_tree() -> None:
    """The kernel names it in the uevent file of whatever has one (drivers/of/device.c, of_device_uevent)."""
    content = b"DRIVER=pl011\nOF_NAME=serial\nOF_FULLNAME=/soc/serial@9000\nOF_COMPATIBLE_0=acme,uart\n"
    assert device_from_env("/devices/x", "platform", parse_uevent_file(content)).of_node == "/soc/serial@9000"
    assert device_from_env("/devices/x", "pci", {"MODALIAS": "pci:x"}).of_node == ""
