"""The tree of text: core/ledger/text_tree.py and the command `tree`."""

from pathlib import Path

import pytest

from modaliasd.cli import main
from modaliasd.core.ledger.answers.explain import why_device, why_module
from modaliasd.core.ledger.answers.jsonable import tree_fields
from modaliasd.core.ledger.answers.text_explain import device_text, module_text
from modaliasd.core.ledger.history import history_of
from modaliasd.core.ledger.text import duration, shorten
from modaliasd.core.ledger.text_tree import render_tree
from modaliasd.core.printable import printable
from tests.support.ledgers import Q35, Maker, q35_records, small_boot, tree_boot

SMALL_TREE = """\
0000:00:03.0  pci  driver nic-driver  at 1.00 s, bound 5.0 ms later
│  pci:v1d1
│  alias pci:v1d* (line 7)
│    nic loaded in 3.0 ms
│      with mii 3.0 ms
└─ eth0  net  eth0
0000:00:04.0  pci  at 1.00 s
   pci:v2d2
   alias pci:v2* (line 7)
     dog denied: blacklisted in /etc/modprobe.d/dogs.conf, line 3
0000:00:05.0  pci  at 1.00 s
   pci:v3d3
   alias pci:v3* (line 7)
     sensor failed: it is not in this image (modprobe: FATAL: Module sensor not found)
4 devices, 3 matched, 1 bound; 2 modules loaded, 1 failed; settled 11 ms after the daemon's start
"""


def test_a_small_boot_to_the_letter() -> None:
    """Device, modalias, alias, module with what it needs, driver, node, and what went wrong."""
    assert render_tree(history_of(small_boot().records)) == SMALL_TREE


def test_cascades_nest() -> None:
    """From the PCI controller by hub, stick and SCSI disk to /dev/sde each level stands deeper."""
    lines = render_tree(history_of(q35_records())).splitlines()
    path = ("0000:00:11.0  pci", "usb2  usb", "2-1  usb", "2-1:1.0  usb", "10:0:0:0  scsi", "sde  block")
    places = []
    at = 0
    for name in path:
        at = next(n for n in range(at, len(lines)) if name in lines[n])
        places.append(lines[at].index(name))
    assert places == sorted(set(places))


def test_every_inserted_module_is_told_once() -> None:
    """Each module that a device of the real boot had inserted has one line that says how long it took."""
    history = history_of(q35_records())
    text = render_tree(history)
    for load in history.loads:
        if load.outcome == "inserted" and load.causes[0].devpath:
            assert text.count(f" {load.module} loaded in ") == 1, load.module


def test_colours_are_the_only_difference() -> None:
    """With the escape sequences taken out the coloured tree is the plain one."""
    import re

    history = history_of(q35_records())
    colored = render_tree(history, color=True)
    assert "\x1b[" in colored
    assert re.sub(r"\x1b\[[0-9;]*m", "", colored) == render_tree(history)


@pytest.mark.parametrize("by", ["device", "module", "time"])
def test_no_line_is_wider_than_asked(by: str) -> None:
    """At 80 columns long modaliases are cut, the cpu's of a thousand characters too."""
    history = history_of([r for r in q35_records() if "message" not in r])
    assert max(map(len, render_tree(history, by, width=80).splitlines()[:-1])) <= 80


def test_full_width_cuts_nothing() -> None:
    """With width 0 every modalias of a device that is shown stands there whole."""
    history = history_of(q35_records())
    text = render_tree(history, width=0)
    assert next(d.modalias for d in history.devices.values() if d.modalias.startswith("cpu:")) in text


def test_what_a_device_calls_itself_cannot_drive_the_terminal() -> None:
    """Control characters and undecodable bytes in a modalias come out as \\x escapes."""
    maker = Maker()
    maker.device("/devices/\x1b[2J", subsystem="usb", modalias="usb:\udc9b\n", matches=[("usb:*", "m")])
    text = render_tree(history_of(maker.records))
    assert "\x1b" not in text
    assert "usb:\\x9b\\x0a" in text


def test_since_the_settle_only_news() -> None:
    """With since_us a plugged card is shown, the boot's cards are not."""
    maker = small_boot()
    settled = maker.t_us
    maker.device("/devices/new", "add", subsystem="pci", modalias="pci:n", matches=[("pci:n", "nu")])
    text = render_tree(history_of(maker.records), since_us=settled - 1)
    assert "new  pci" in text
    assert "0000:00:03.0" not in text


def test_an_unplugged_device_was_driven() -> None:
    """A driver that let go because its device went is told as such, and never as one that did not take it."""
    maker = small_boot()
    nic = "/devices/pci0000:00/0000:00:03.0"
    maker.device(nic, "unbind", subsystem="pci", driver="nic-driver")
    maker.add("unbound", devpath=nic, subsystem="pci", drivers=["nic-driver"], modules=["nic"])
    here = render_tree(history_of(maker.records))
    assert "was driven by nic-driver" in here
    maker.device(nic, "remove", subsystem="pci")
    history = history_of(maker.records)
    gone = render_tree(history)
    assert "was driven by nic-driver" in gone
    assert "did not take it" not in here + gone
    assert "nic-driver had it, until it was removed" in device_text(
        history, why_device(history, history.devices[nic])
    )
    maker.device(nic, "add", subsystem="pci", modalias="pci:v1d1", matches=[("pci:v1d*", "nic")])
    maker.device(nic, "bind", subsystem="pci", driver="nic-driver")
    assert "was driven" not in render_tree(history_of(maker.records))


def test_by_module_says_why_and_what_it_drives() -> None:
    """A row a module: time, cause, what it needed, what it drives."""
    text = render_tree(history_of(small_boot().records), "module")
    assert "nic                         3.0 ms  pci 0000:00:03.0 by pci:v1d*" in text
    assert "  ├─ needed mii\n  └─ drives pci 0000:00:03.0\n" in text
    assert "mii                         3.0 ms  nic needs it" in text


def test_by_time_is_in_order() -> None:
    """The stamps never go back."""
    stamps = [
        float(line.split()[0]) for line in render_tree(history_of(q35_records()), "time").splitlines()[:-1]
    ]
    assert stamps == sorted(stamps)
    assert len(stamps) > 100


@pytest.mark.parametrize(
    ("us", "text"),
    [
        (-1, "?"),
        (0, "0.0 ms"),
        (9_949, "9.9 ms"),
        (10_000, "10 ms"),
        (999_499, "999 ms"),
        (999_500, "1.00 s"),
    ],
)
def test_durations(us: int, text: str) -> None:
    """Spans are given with about three digits."""
    assert duration(us) == text


def test_shorten_keeps_both_ends() -> None:
    """A text that is too long loses its middle, and is then just as wide as allowed."""
    assert shorten("a" * 50 + "b" * 50, 20) == "aaaaaaaaaaaaa…bbbbbb"
    assert shorten("short", 20) == "short"
    assert printable("plain text") == "plain text"


def test_the_command_reads_a_ledger_file(capsys: pytest.CaptureFixture[str]) -> None:
    """`modaliasd tree --ledger FILE` prints the tree, without colours into a pipe."""
    assert main(["tree", "--ledger", str(Q35)]) == 0
    out = capsys.readouterr().out
    assert "driver virtio-pci" in out
    assert "\x1b" not in out


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--by", "size"], 100, "device, module, time"),
        (["--shape"], 100, "unknown option `--shape`"),
        (["--ledger", "/nowhere/l.jsonl"], 111, "cannot read the ledger /nowhere/l.jsonl"),
        (["--ledger", str(Q35), "--color", "pink"], 100, "auto, always, never"),
    ],
    ids=["order", "option", "file", "color"],
)
def test_the_command_says_what_is_wrong(
    arguments: list[str], status: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wrong usage ends with 100, a missing ledger with 111, each with a word on it."""
    assert main(["tree", *arguments]) == status
    assert words in capsys.readouterr().err


def test_a_half_written_last_line_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """While the daemon writes, its last line may be half there: the tree shows the others."""
    path = tmp_path / "ledger.jsonl"
    path.write_text(small_boot().text() + '{"type":"dev', encoding="ascii")
    assert main(["tree", "--ledger", str(path)]) == 0
    assert capsys.readouterr().out == SMALL_TREE


def test_a_node_of_a_device_tree() -> None:
    """The tree and why say where it is, which compatible the alias matched, and which others it has."""
    history = history_of(tree_boot().records)
    said = (
        "node /soc/serial@9000, compatible acme,uart, "
        "which is more general than acme,uart-2 and less so than ns16550a"
    )
    assert f"   alias of:N*T*Cacme,uartC* (line 7)\n     {said}\n     acme_uart loaded" in render_tree(
        history, width=0
    )
    why = why_module(history, "acme_uart")
    assert why is not None
    for text in (
        module_text(history, why),
        device_text(history, why_device(history, history.devices["/devices/platform/soc/9000.serial"])),
    ):
        assert f"  which is  {said}\n" in text
    alone = device_text(history, why_device(history, history.devices["/devices/platform/soc/48.sensor"]))
    assert "which is  node sensor, compatible acme,s\n" in alone
    [row, _] = tree_fields(history)["devices"]
    assert row["of_node"] == "/soc/serial@9000"
    assert row["device_tree"]["matched"] == ["acme,uart"]
