"""hostbuild.formats.devicetree: blobs and their devices. dtc is the oracle: it makes blobs, and reads them back."""

import re
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostbuild.errors import InputError
from hostbuild.formats.devicetree.blob import MAGIC, Node, parse_blob
from hostbuild.formats.devicetree.devices import TreeDevice, devices_of
from hostbuild.formats.sniff import Kind, kind_of
from hostbuild.main import status_of
from hostbuild.predict.capture import CaptureKind
from hostbuild.predict.file import read_capture
from tests.support.programs import require_program

BOARD = """
/dts-v1/;
/memreserve/ 0x1000 0x100;
/ {
    compatible = "acme,board";
    #address-cells = <1>;
    #size-cells = <1>;
    chosen { };
    soc {
        compatible = "simple-bus";
        ranges;
        #address-cells = <1>;
        #size-cells = <1>;
        serial@9000 { compatible = "acme,uart-2", "acme,uart"; reg = <0x9000 0x10>; device_type = "serial"; };
        uart: serial@a000 { compatible = "arm,pl011", "arm,primecell"; arm,primecell-periphid = <0x00241011>; };
        serial@b000 { compatible = "arm,pl011", "arm,primecell"; };
        spi@c000 { compatible = "acme,spi"; flash@0 { compatible = "jedec,spi-nor"; }; };
        i2c@d000 { compatible = "acme,i2c"; status = "okay"; sensor@48 { compatible = "ti,tmp 75"; }; };
        usb@e000 { compatible = "acme,usb"; status = "disabled"; hub@1 { compatible = "usb,hub"; }; };
        fifo@f000 { compatible = "acme,fifo"; status = "fail"; };
    };
};
"""
DEVICES = [
    TreeDevice("/soc", "platform", ("simple-bus",), "of:NsocT(null)Csimple-bus"),
    TreeDevice(
        "/soc/serial@9000",
        "platform",
        ("acme,uart-2", "acme,uart"),
        "of:NserialTserialCacme,uart-2Cacme,uart",
    ),
    TreeDevice("/soc/serial@a000", "amba", ("arm,pl011", "arm,primecell"), "amba:d00241011"),
    TreeDevice("/soc/serial@b000", "amba", ("arm,pl011", "arm,primecell"), ""),
    TreeDevice("/soc/spi@c000", "platform", ("acme,spi",), "of:NspiT(null)Cacme,spi"),
    TreeDevice("/soc/spi@c000/flash@0", "spi", ("jedec,spi-nor",), "spi:spi-nor"),
    TreeDevice("/soc/i2c@d000", "platform", ("acme,i2c",), "of:Ni2cT(null)Cacme,i2c"),
    TreeDevice("/soc/i2c@d000/sensor@48", "i2c", ("ti,tmp 75",), "of:NsensorT(null)Cti,tmp_75"),
]


def compiled(source: str, *options: str) -> bytes:
    """Have dtc make a blob."""
    argv = [require_program("dtc"), "-q", "-I", "dts", "-O", "dtb", *options]
    return subprocess.run(argv, input=source.encode(), capture_output=True, timeout=20, check=True).stdout


@pytest.fixture(scope="module")
def blob() -> bytes:
    """The board."""
    return compiled(BOARD)


def nodes(node: Node) -> list[Node]:
    """All nodes, each before those below it."""
    return [node, *(one for child in node.children for one in nodes(child))]


def test_the_devices_of_a_board(blob: bytes) -> None:
    """Enabled nodes with a compatible, each with the modalias of its bus; what is below a disabled one is not there."""
    assert list(devices_of(parse_blob(blob))) == DEVICES


@pytest.mark.parametrize(
    "options", [("-V", "16"), ("-V", "17"), ("-S", "8000"), ("-p", "100"), ("-@",)], ids=str
)
def test_every_form_that_dtc_writes(options: tuple[str, ...]) -> None:
    """Older versions, padding, symbols: the devices are the same."""
    assert list(devices_of(parse_blob(compiled(BOARD, *options)))) == DEVICES


def test_blobs_read_as_dtc_reads_them(blob: bytes) -> None:
    """Names and values of all properties, node by node, are those that dtc prints."""
    argv = [require_program("dtc"), "-q", "-I", "dtb", "-O", "dts"]
    text = subprocess.run(argv, input=blob, capture_output=True, timeout=20, check=True).stdout.decode()
    names = re.findall(r"(?m)^\s*([\w,@#/-]+) \{$", text)
    assert [one.name or "/" for one in nodes(parse_blob(blob))] == names
    properties = re.findall(r"(?m)^\s*([\w,#-]+)(?: = .*)?;$", text)
    assert [name for one in nodes(parse_blob(blob)) for name in one.properties] == properties


def test_it_is_known_and_read_as_a_machine(blob: bytes, tmp_path: Path) -> None:
    """predict takes a blob in a capture's place; its devices stand where a running kernel would show their nodes."""
    assert kind_of(blob) is Kind.DEVICETREE
    path = tmp_path / "board.dtb"
    path.write_bytes(blob)
    capture = read_capture(path)
    assert capture.source is CaptureKind.DEVICETREE
    assert "/firmware/devicetree/base/soc/serial@9000" in {one.devpath for one in capture.devices}


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda data: data[:30], "cut short within its header"),
        (lambda data: data[:-20], "cut short"),
        (lambda data: data[:20] + struct.pack(">2I", 3, 2) + data[28:], "of version 3"),
        (lambda data: data[:8] + struct.pack(">I", 0x7FFFFFFF) + data[12:], "damaged"),
        (lambda data: data[:12] + struct.pack(">I", 0x7FFFFFFF) + data[16:], "a name without an end"),
        (lambda data: data.replace(b"\0\0\0\x09", b"\0\0\0\x04"), "damaged"),
        (lambda data: data.replace(b"\0\0\0\x02\0\0\0\x02", b"\0\0\0\x02\0\0\0\x07"), "an unexpected token"),
    ],
    ids=["header", "end", "version", "structure", "strings", "no end", "token"],
)
def test_damaged_blobs(blob: bytes, spoil: object, said: str, tmp_path: Path) -> None:
    """What is wrong is said, with the file; the exit status is that of wrong input."""
    assert callable(spoil)
    path = tmp_path / "board.dtb"
    path.write_bytes(spoil(blob))
    with pytest.raises(InputError, match=said) as caught:
        read_capture(path)
    assert str(path) in str(caught.value)
    assert status_of(["predict", str(path)]) == 100


def test_a_tree_without_devices(tmp_path: Path) -> None:
    """A tree in which nothing has a compatible is no machine."""
    path = tmp_path / "empty.dtb"
    path.write_bytes(compiled('/dts-v1/; / { compatible = "acme,board"; chosen { }; };'))
    with pytest.raises(InputError, match="has no device"):
        read_capture(path)


def test_a_bottomless_tree() -> None:
    """As many nodes within one another as the kernel takes, and not one more."""

    def nested(count: int) -> bytes:
        return compiled("/dts-v1/; / {" + "a {" * count + "};" * count + "};")

    assert len(nodes(parse_blob(nested(63)))) == 64
    with pytest.raises(InputError, match="more than 64 nodes"):
        parse_blob(nested(64))


@given(data=st.data())
def test_any_damage_is_an_answer_or_an_error(blob: bytes, data: st.DataObject) -> None:
    """Words changed anywhere: devices come out, or an InputError."""
    spoilt = bytearray(blob)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(4, len(spoilt) - 4))
        spoilt[at : at + 4] = data.draw(
            st.one_of(
                st.binary(min_size=4, max_size=4),
                st.sampled_from([bytes(4), b"\0\0\0\x01", b"\0\0\0\x02", b"\0\0\0\x03", b"\xff" * 4]),
            )
        )
    try:
        list(devices_of(parse_blob(bytes(spoilt))))
    except InputError:
        return


@given(st.binary(max_size=200))
def test_noise(data: bytes) -> None:
    """What follows the magic may be anything."""
    with pytest.raises(InputError):
        parse_blob(MAGIC + data[:36])
