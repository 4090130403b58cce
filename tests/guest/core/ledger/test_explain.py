"""The answers to why and why-not: core/ledger/answers/explain.py, its text, and the commands."""

from pathlib import Path

import pytest

from modaliasd.cli import main
from modaliasd.commands.modulefacts import read_facts, read_taint
from modaliasd.core.kmod.tables import MayAsk
from modaliasd.core.ledger.answers.explain import (
    Became,
    find_devices,
    why_device,
    why_module,
)
from modaliasd.core.ledger.answers.explain_not import ModuleFacts, Reason, why_not
from modaliasd.core.ledger.answers.text_explain import device_text, module_text
from modaliasd.core.ledger.history import History, history_of
from tests.support.ledgers import Q35, Maker, q35_records, small_boot

NIC, DOG, SENSOR = (f"/devices/pci0000:00/0000:00:0{n}.0" for n in (3, 4, 5))


@pytest.fixture(scope="module")
def q35() -> History:
    return history_of(q35_records())


def test_why_names_every_asker_with_alias_and_line(q35: History) -> None:
    """Five SCSI disks asked for sd_mod, the first to ask first, by one pattern in one line."""
    why = why_module(q35, "sd_mod")
    assert why is not None
    assert len(why.askers) == 5
    assert {(a.match.alias, a.match.line) for a in why.askers} == {("scsi:t-0x00*", 605)}
    assert why.load is not None
    assert why.askers[0].device.devpath == why.load.causes[0].devpath
    assert {device.devpath for device in why.drives} == {a.device.devpath for a in why.askers}


def test_why_a_dependency_is_there_names_who_needs_it(q35: History) -> None:
    """scsi_mod was loaded for megaraid_sas, which a PCI card asked for; no device asked for scsi_mod."""
    why = why_module(q35, "scsi_mod")
    assert why is not None
    assert why.needed_by == ("megaraid_sas",)
    assert why.askers == ()
    assert "megaraid_sas needs it, pci 0000:00:09.0 by " in module_text(q35, why)


def test_why_knows_what_came_by_itself(q35: History) -> None:
    """A module that the kernel asked for has an appearance and no load."""
    why = why_module(q35, "ledtrig_audio")
    assert why is not None
    assert why.load is None
    assert "the kernel did (request_module)" in module_text(q35, why)


def test_who_may_have_the_kernel_ask_is_named(q35: History) -> None:
    """`why` has a line for each asker with its words; `why-not` has them for what nobody has asked for yet."""
    may_ask = tuple(
        MayAsk("ledtrig_audio", *rest) for rest in (("snd", "a"), ("snd", "b"), ("kernel", "c-*"))
    )
    why = why_module(q35, "ledtrig_audio")
    assert why is not None
    text = module_text(q35, why, may_ask=may_ask)
    assert "  snd asks for it when needed: a, b\n  the kernel asks for it when needed: c-*\n" in text
    facts = ModuleFacts("/lib/modules/6.1.0-test", in_tree=True, in_kernel=True, may_ask=may_ask)
    answer = why_not(q35, "floppy", facts)
    assert answer.reason is Reason.NO_DEVICE
    assert answer.details[0] == "snd asks for it when needed: a, b."


@pytest.mark.parametrize(
    ("taint", "told", "said"),
    [
        ("\n", "stripped\n", ""),
        ("OE\n", "", "without signature: it taints the kernel (E)"),
        ("E\n", "sha256\n", "without signature: it taints the kernel (E)"),
        ("E\n", "stripped\n", "without signature (stripped by make-image): it taints the kernel (E)"),
    ],
)
def test_a_taint_is_told(q35: History, taint: str, told: str, said: str, tmp_path: Path) -> None:
    """sysfs says whether a module has tainted the kernel, the image whether that is make-image's doing."""
    (tmp_path / "module/scsi_mod").mkdir(parents=True)
    (tmp_path / "module/scsi_mod/taint").write_text(taint)
    (tmp_path / "modules.hash").write_text(told)
    assert read_taint("scsi-mod", str(tmp_path), str(tmp_path)) == said
    assert read_taint("gone", str(tmp_path), str(tmp_path)) == ""
    why = why_module(q35, "scsi_mod")
    assert why is not None
    text = module_text(q35, why, taint=said)
    assert f"  {said}\n" in text if said else "signature" not in text


def test_why_of_a_stranger_is_none(q35: History) -> None:
    """A name that no line has is unknown."""
    assert why_module(q35, "floppy") is None


@pytest.mark.parametrize(
    "name",
    [
        "/devices/pci0000:00/0000:00:01.0/virtio0/block/vda",
        "/sys/devices/pci0000:00/0000:00:01.0/virtio0/block/vda",
        "/dev/vda",
        "vda",
        "virtio0/block/vda",
    ],
)
def test_a_device_has_many_names(q35: History, name: str) -> None:
    """Devpath, with and without /sys, node, last part and the end of a path mean the same disk."""
    assert [device.devname for device in find_devices(q35, name)] == ["vda"]


def test_an_interface_is_a_name(q35: History) -> None:
    """eth0 is found by its interface's name; what nothing is called is not found."""
    assert [device.ifname for device in find_devices(q35, "eth0")] == ["eth0"]
    assert find_devices(q35, "eth77") == []
    assert find_devices(q35, "/dev/nothing") == []


def test_a_disk_is_explained_up_to_its_controller(q35: History) -> None:
    """/dev/sde hangs on a SCSI device, a USB interface and a PCI card; each says what it asked for."""
    [disk] = find_devices(q35, "/dev/sde")
    text = device_text(q35, why_device(q35, disk))
    words = ["asked for sd_mod", "asked for usb_storage", "asked for xhci_pci"]
    places = [text.index(word) for word in words]
    assert places == sorted(places)


def test_a_controller_whose_driver_is_inside_the_kernel_is_told_as_well() -> None:
    """virtio_pci since 6.10: no module was asked for, but the disk hangs on what it drives. The bridge is left out."""
    maker = Maker()
    bridge = "/devices/pci0000:00/0000:00:1c.0"
    card = f"{bridge}/0000:01:00.0"
    maker.device(bridge, subsystem="pci", driver="pcieport", modalias="pci:v9")
    maker.device(card, subsystem="pci", driver="virtio-pci", modalias="pci:v1")
    virtio = f"{card}/virtio0"
    maker.device(virtio, subsystem="virtio", modalias="virtio:d2", matches=[("virtio:d2*", "virtio_blk")])
    maker.device(f"{virtio}/block/vda", subsystem="block", devname="vda")
    history = history_of(maker.records)
    text = device_text(history, why_device(history, history.devices[f"{virtio}/block/vda"]))
    assert "hangs on pci 0000:01:00.0, driven by virtio-pci\n" in text
    assert "0000:00:1c.0," not in text


def test_each_match_says_what_became_of_it() -> None:
    """Loaded by this device, refused, failed, and in already because another asked first."""
    maker = small_boot()
    late = "/devices/pci0000:00/0000:00:07.0"
    maker.device(late, "add", subsystem="pci", modalias="pci:v1d8", matches=[("pci:v1d*", "nic")])
    history = history_of(maker.records)
    became = {d: why_device(history, history.devices[d]).chosen[0].became for d in (NIC, DOG, SENSOR, late)}
    assert became == {
        NIC: Became.LOADED,
        DOG: Became.REFUSED,
        SENSOR: Became.FAILED,
        late: Became.ALREADY,
    }
    assert why_device(history, history.devices[NIC]).chosen[0].drives


def test_not_loaded_because_no_device_asks(q35: History) -> None:
    """A module of the tree whose aliases match nothing here: the answer counts them and names their buses."""
    facts = ModuleFacts(in_tree=True, aliases=("pci:v00001013d000000B8sv*sd*bc*sc*i*",))
    answer = why_not(q35, "cirrus", facts)
    assert answer.reason is Reason.NO_DEVICE
    assert "1 aliases, for pci" in answer.details[1]
    assert answer.fix.startswith("modaliasd load cirrus")


def test_not_loaded_because_denied_names_the_line() -> None:
    """The denying line stands in the answer, and the device that asked."""
    answer = why_not(history_of(small_boot().records), "dog", ModuleFacts())
    assert answer.reason is Reason.DENIED
    assert DOG in answer.details[0]
    assert "/etc/modprobe.d/dogs.conf, line 3" in answer.details[1]


@pytest.mark.parametrize("facts", [ModuleFacts(), ModuleFacts(in_tree=False)])
def test_matched_but_missing_says_what_brings_it(facts: ModuleFacts) -> None:
    """A module that matched and is not in the image: the option of make-image that brings it."""
    answer = why_not(history_of(small_boot().records), "sensor", facts)
    assert answer.reason is Reason.MISSING
    assert "hostbuild make-image --modules qemu,sensor" in answer.fix


def test_a_device_would_ask_for_it_if_the_image_had_it() -> None:
    """With the whole kernel's aliases at hand an absent module is traced to the device that would want it."""
    answer = why_not(
        history_of(small_boot().records), "other", ModuleFacts(in_tree=False, aliases=("pci:v3*",))
    )
    assert answer.reason is Reason.MISSING
    assert SENSOR in answer.details[0]


def test_loaded_and_bound_to_nothing(q35: History) -> None:
    """uas was loaded for a stick that usb-storage drives: the answer says who has the device."""
    answer = why_not(q35, "uas", ModuleFacts())
    assert answer.reason is Reason.UNBOUND
    assert "is driven by usb-storage" in answer.details[0]


def test_waiting_for_a_supplier() -> None:
    """A device of a loaded module that waits for another device: the supplier is named."""
    maker = small_boot()
    path = "/devices/platform/panel"
    maker.device(path, subsystem="platform", modalias="of:panel", matches=[("of:panel", "panel")])
    maker.load("panel", {"devpath": path, "modalias": "of:panel", "alias": "of:panel"})
    facts = ModuleFacts(in_tree=True, waiting={path: ("platform:regulator-5v",)})
    answer = why_not(history_of(maker.records), "panel", facts)
    assert answer.reason is Reason.WAITING
    assert "platform:regulator-5v" in answer.details[0]


@pytest.mark.parametrize(
    ("module", "reason"),
    [("e1000", Reason.AT_WORK), ("scsi_mod", Reason.SERVES)],
)
def test_a_module_at_work_is_no_failure(q35: History, module: str, reason: Reason) -> None:
    """Asked why not, a module that works is said to work."""
    assert why_not(q35, module, ModuleFacts()).reason is reason


def test_builtin_and_pending() -> None:
    """Part of the kernel; matched without an end yet."""
    maker = small_boot()
    maker.device("/devices/x", subsystem="pci", modalias="pci:x", matches=[("pci:x", "slowpoke")])
    history = history_of(maker.records)
    assert why_not(history, "loop", ModuleFacts(builtin=True)).reason is Reason.BUILTIN
    assert why_not(history, "slowpoke", ModuleFacts(in_tree=True)).reason is Reason.PENDING


def test_facts_come_from_the_module_tree_and_sysfs(tmp_path: Path) -> None:
    """modules.dep, modules.builtin, modules.alias, and the attribute waiting_for_supplier with its links."""
    tree, sys = tmp_path / "modules", tmp_path / "sys"
    tree.mkdir()
    (tree / "modules.dep").write_text("kernel/a/snd-pcm.ko.xz: kernel/a/snd.ko.xz\nkernel/a/snd.ko.xz:\n")
    (tree / "modules.builtin").write_text("kernel/drivers/block/loop.ko\n")
    (tree / "modules.alias").write_text(
        "# x\nalias pci:v1* snd_pcm\nalias a b c snd_pcm\nalias pci:v2* snd\n"
    )
    device = sys / "devices/panel"
    (device / "supplier:platform:reg").mkdir(parents=True)
    (device / "waiting_for_supplier").write_text("1\n")
    (sys / "devices/happy").mkdir()
    (sys / "devices/happy/waiting_for_supplier").write_text("0\n")
    facts = read_facts("snd-pcm", str(tree), str(sys), ["/devices/panel", "/devices/happy"])
    assert facts.in_tree is True
    assert facts.aliases == ("pci:v1*", "a b c")
    assert facts.waiting == {"/devices/panel": ("platform:reg",)}
    assert read_facts("loop", str(tree), str(sys), []).builtin
    assert read_facts("pcm", str(tree), str(sys), []).in_tree is False
    assert read_facts("snd", str(tmp_path / "none"), str(sys), []).in_tree is None


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["why", "sd_mod"], 0, "line 605 of modules.alias"),
        (["why", "/dev/sde"], 0, "which asked for usb_storage"),
        (["why-not", "uas"], 0, "loaded but drives nothing"),
        (["why-not", "e1000"], 1, "it is loaded and drives a device"),
        (["why", "--help"], 0, "usage: modaliasd why"),
        (["why-not", "--help"], 0, "usage: modaliasd why-not"),
    ],
)
def test_the_commands(
    arguments: list[str], status: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The commands answer from a ledger file on the host, too."""
    assert main([*arguments, "--ledger", str(Q35)]) == status
    assert words in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["why", "hi"], 1, "did you mean hid,"),
        (["why"], 100, "missing argument"),
        (["why", "a", "b"], 100, "unexpected argument `b`; expected `modaliasd why MODULE|DEVICE`"),
        (["why-not", "x", "--frob"], 100, "unknown option `--frob`"),
    ],
)
def test_the_commands_say_what_is_wrong(
    arguments: list[str], status: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unknown name ends with 1 and a hint, wrong usage with 100."""
    assert main([*arguments, "--ledger", str(Q35)]) == status
    assert words in capsys.readouterr().err
