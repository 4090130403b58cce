"""The report's model and the formats that need no browser."""

import itertools
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from hostbuild.main import status_of
from hostbuild.report.dot import render_dot
from hostbuild.report.html import render_html
from hostbuild.report.kinds import Kind, kind_of
from hostbuild.report.model import make_model
from hostbuild.report.perfetto import make_trace
from hostbuild.report.svg import render_svg
from modaliasd.core.ledger.history import history_of
from tests.support.ledgers import Q35, START_US, Maker, q35_records, small_boot, tree_boot
from tests.support.schema import check_records


@pytest.fixture(scope="module")
def q35() -> dict[str, Any]:
    return make_model(
        history_of(q35_records()),
        {"modules": [{"name": "virtio-pci", "size": 9}, {"name": "fuse", "size": 5}]},
    )


def test_the_slowest_are_the_longest_own_times(q35: dict[str, Any]) -> None:
    """Ten modules, each no quicker than those left out."""
    own = {load["module"]: load["own"] for load in q35["loads"]}
    slowest = [own[module] for module in q35["slowest"]]
    assert len(slowest) == 10
    assert slowest == sorted(own.values(), reverse=True)[:10]


def test_parents_stand_before_their_children(q35: dict[str, Any]) -> None:
    """The page builds its tree in one pass over the devices."""
    assert all(device["parent"] < at for at, device in enumerate(q35["devices"]))


def test_unused_are_the_images_modules_that_were_never_in_the_kernel(q35: dict[str, Any]) -> None:
    """virtio-pci was loaded as virtio_pci; fuse was not."""
    assert q35["unused"]["carried"] == 2
    assert [row["module"] for row in q35["unused"]["modules"]] == ["fuse"]


def test_failures_come_with_cause_and_fix() -> None:
    """A denied and a missing module, and an unbound device, each with what fixes it."""
    maker = small_boot()
    path = "/devices/pci0000:00/0000:00:05.0"
    maker.add("unbound", devpath=path, subsystem="pci", drivers=["sense"], modules=["sensor"])
    rows = {row["what"]: row for row in make_model(history_of(maker.records))["failures"]}
    assert set(rows) == {"dog", "sensor", path}
    assert "line 3" in rows["dog"]["why"][1]
    assert "--modules qemu,sensor" in rows["sensor"]["fix"]
    assert "dmesg" in rows[path]["fix"]


def test_each_settle_ends_an_episode() -> None:
    """The boot is one, and every hotplug after it another; a settle without news makes none."""
    maker = small_boot()
    maker.settled()
    maker.t_us += 60_000_000
    plugged = maker.t_us
    maker.device("/devices/new", "add", subsystem="pci", modalias="pci:n", matches=[])
    maker.settled()
    episodes = make_model(history_of(maker.records))["episodes"]
    assert [episode["name"] for episode in episodes] == ["Coldplug", "Hotplug 1"]
    assert episodes[1]["from"] == plugged


def test_a_boot_that_never_settled_is_shown() -> None:
    """Without a settle there is one episode, up to the last record."""
    records = [record for record in small_boot().records if record["type"] != "settled"]
    model = make_model(history_of(records))
    assert model["settled"] == -1
    assert [(e["name"], e["to"]) for e in model["episodes"]] == [("Coldplug", records[-1]["t_us"])]


@pytest.mark.parametrize(
    ("subsystem", "modalias", "kind"),
    [
        ("pci", "pci:v00008086d0000100Esv00001AF4sd00001100bc02sc00i00", Kind.NETWORK),
        ("pci", "pci:v00001B36d00000010sv00001AF4sd00001100bc01sc08i02", Kind.STORAGE),
        ("pci", "pci:v00001B36d0000000Dsv00001AF4sd00001100bc0Csc03i30", Kind.USB),
        ("pci", "pci:v00008086d00002930sv00001AF4sd00001100bc0Csc05i00", Kind.OTHER),
        ("virtio", "virtio:d00000002v00001AF4", Kind.STORAGE),
        ("usb", "usb:v46F4p0001d0000dc00dsc00dp00ic08isc06ip50in00", Kind.STORAGE),
        ("usb", "usb:v1D6Bp0003d0601dc09dsc00dp03ic09isc00ip00in00", Kind.USB),
        ("", "cpu:type:x86,ven0002fam000Fmod006B:feature:,0000", Kind.CPU),
        ("serio", "serio:ty06pr00id00ex00", Kind.INPUT),
        ("acpi", "acpi:QEMU0002:", Kind.OTHER),
        ("pci", "pci:", Kind.OTHER),
    ],
)
def test_kinds(subsystem: str, modalias: str, kind: Kind) -> None:
    """A device's kind comes from its PCI class, virtio number, USB interface class, or subsystem."""
    assert kind_of(subsystem, modalias) is kind


def test_a_dependency_has_the_kind_of_what_asked(q35: dict[str, Any]) -> None:
    """snd_pcm was needed by a sound card's module, scsi_mod by a disk controller's."""
    kinds = {load["module"]: load["kind"] for load in q35["loads"]}
    assert (kinds["snd_pcm"], kinds["scsi_mod"], kinds["usbcore"]) == ("sound", "storage", "usb")


def test_the_page_needs_no_network(q35: dict[str, Any]) -> None:
    """No address, no import, no file: nothing outside the page is named but XML's own namespaces."""
    page = render_html(q35 | {"title": "t"})
    addresses = set(re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}[^\s\"'<]*", page))
    assert addresses <= {"http://www.w3.org/2000/svg"}
    assert not re.search(r"<(?:script|img|iframe)[^>]+src=|<link[^>]+href=\"(?!data:)|@import|url\(", page)


def test_a_device_cannot_break_out_of_the_page() -> None:
    """A modalias with markup stays data: it neither ends the script nor starts an element."""
    maker = Maker()
    evil = "</script><script>alert(1)</script><!--"
    maker.device("/devices/x", subsystem="usb", modalias=evil, matches=[])
    page = render_html(make_model(history_of(maker.records), title=evil))
    assert evil not in page
    assert page.count("<script") == 2
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert data is not None
    assert json.loads(data[1])["devices"][0]["modalias"] == evil


def test_the_trace_is_what_perfetto_reads(q35: dict[str, Any]) -> None:
    """Complete events have a start and a length, and those of one lane do not overlap."""
    trace = json.loads(json.dumps(make_trace(q35)))
    lanes: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for event in trace["traceEvents"]:
        assert event["ph"] in {"X", "i", "M"}
        if event["ph"] == "X":
            lanes.setdefault((event["pid"], event["tid"]), []).append(
                (event["ts"], event["ts"] + event["dur"])
            )
    for spans in lanes.values():
        spans.sort()
        assert all(first[1] <= second[0] for first, second in itertools.pairwise(spans))
    names = {event["name"] for event in trace["traceEvents"]}
    assert {load["module"] for load in q35["loads"] if load["start"] >= 0} <= names


def test_the_graph_leads_from_devices_to_modules_to_dependencies() -> None:
    """The card points to its module, and that to what it brought; names with quotes stay one token."""
    maker = small_boot()
    maker.device('/devices/a"b', subsystem="pci", modalias="pci:q", matches=[("pci:q", "q")])
    text = render_dot(make_model(history_of(maker.records)))
    nodes = dict(re.findall(r'^  (\w+) \[.*label="(.*)"\];$', text, re.MULTILINE))
    edges = {(nodes[a], nodes[b]) for a, b in re.findall(r"^  (\w+) -> (\w+)", text, re.MULTILINE)}
    assert ("pci 0000:00:03.0", "nic") in edges
    assert ("nic", "mii") in edges
    assert r"pci a\"b" in nodes.values()


def test_the_picture_is_xml_with_a_bar_a_module(q35: dict[str, Any]) -> None:
    """Every module's name stands in the SVG, and its XML is well formed."""
    root = ET.fromstring(render_svg(q35))
    texts = {element.text for element in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {load["module"] for load in q35["loads"]} <= texts


@pytest.mark.parametrize("name", ["a.html", "a.trace.json", "a.dot", "a.svg", "a.txt", "a.json"])
def test_the_command_writes_what_the_name_says(name: str, tmp_path: Path) -> None:
    """The format follows from the file's name."""
    out = tmp_path / name
    assert status_of(["report", str(Q35), "-o", str(out)]) == 0
    starts = {
        "html": "<!DOCTYPE",
        "trace.json": '{\n "traceEvents"',
        "dot": "digraph",
        "svg": "<svg",
        "json": "{",
    }
    starts["txt"] = "LNXPWRBN:00"
    assert out.read_text(encoding="utf-8").startswith(starts[name.partition(".")[2]])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is empty"),
        ("hello\n", "line 1: it is not JSON"),
        ("[1]\n", "line 1: it is not a record"),
        ('{"type":"start","t_us":1,"format":9}\n', "format 9"),
        ("\x7f\u00e9\n", "not ASCII"),
    ],
)
def test_what_is_no_ledger_is_refused(
    content: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error names the file and what is wrong with it; nothing is written."""
    ledger, out = tmp_path / "l.jsonl", tmp_path / "out.html"
    ledger.write_text(content, encoding="utf-8")
    assert status_of(["report", str(ledger), "-o", str(out)]) == 100
    assert words in capsys.readouterr().err
    assert not out.exists()


def test_the_phases_of_a_boot() -> None:
    """The kernel up to /init, the initramfs within it, init, devices; without the kernel's log one phase before."""
    maker = Maker()
    maker.settled(devices=0)
    unknown = make_model(history_of(maker.records))
    assert unknown["phases"] == [
        {"name": "kernel and init", "from": 0, "to": START_US},
        {"name": "devices", "from": START_US, "to": START_US + 2000},
    ]
    maker.add("boot", unpack_us=500, unpacked_us=600, init_us=700_000, initcalls=[])
    check_records(maker.records)
    phases = make_model(history_of(maker.records))["phases"]
    assert [(one["name"], one["from"], one["to"]) for one in phases] == [
        ("kernel", 0, 700_000),
        ("initramfs unpacked", 500, 600),
        ("init", 700_000, START_US),
        ("devices", START_US, START_US + 2000),
    ]


def test_a_module_that_was_loaded_twice_has_a_row_for_each_load() -> None:
    """The earlier load has its own askers only; what the module drives now is the later one's."""
    maker = small_boot()
    nic, other = "/devices/pci0000:00/0000:00:03.0", "/devices/pci0000:00/0000:00:08.0"
    maker.add("module", action="remove", module="nic")
    maker.device(other, "add", subsystem="pci", modalias="pci:v1d9", matches=[("pci:v1d*", "nic")])
    maker.load(
        "nic", {"devpath": other, "subsystem": "pci", "modalias": "pci:v1d9", "alias": "pci:v1d*", "line": 7}
    )
    model = make_model(history_of(maker.records))
    names = [device["path"] for device in model["devices"]]
    loads = [load for load in model["loads"] if load["module"] == "nic"]
    assert len(loads) == 2
    assert [[names[at] for at in load["askers"]] for load in loads] == [[nic], [nic, other]]
    assert [bool(load["drives"]) for load in loads] == [False, True]


def test_a_node_of_a_device_tree() -> None:
    """The model has its path, its compatibles and those that matched; of what is in no tree it has none."""
    maker = tree_boot()
    check_records(maker.records)
    devices = {row["path"]: row["device_tree"] for row in make_model(history_of(maker.records))["devices"]}
    assert devices["/devices/platform/soc/9000.serial"] == {
        "node": "/soc/serial@9000",
        "compatible": ["acme,uart-2", "acme,uart", "ns16550a"],
        "matched": ["acme,uart"],
    }
    assert not any(row["device_tree"] for row in make_model(history_of(small_boot().records))["devices"])
