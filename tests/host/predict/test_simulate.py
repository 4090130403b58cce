"""Predictions on small machines: cascades, denials, what the kernel requests, what nobody can know; and the commands.

Predictions are held against real boots in tests/vm/test_predict_vm.py.
"""

import json
from pathlib import Path, PurePath

import pytest

from hostbuild.errors import InputError
from hostbuild.formats.initramfs.newc import Member, Writer
from hostbuild.main import status_of
from hostbuild.predict.capture import (
    Capture,
    Captured,
    CaptureKind,
    capture_of_history,
    make_capture,
    parse_capture,
    render_capture,
)
from hostbuild.predict.learn import learn
from hostbuild.predict.prediction import Fate, Prediction, Target
from hostbuild.predict.prove import prove
from hostbuild.predict.simulate import predict
from hostbuild.predict.target import make_target, open_image, read_config
from hostbuild.predict.text import prediction_fields, render_prediction
from modaliasd.core.device import Device
from modaliasd.core.kmod.invocation import Flavour
from modaliasd.core.ledger.history import history_of
from modaliasd.core.loading.cause import Cause
from modaliasd.core.loading.outcome import Outcome
from tests.support.ledgers import Maker, q35_records

TABLES = {
    "modules.dep": b"""\
kernel/virtio.ko:
kernel/virtio_pci.ko: kernel/virtio.ko
kernel/virtio_blk.ko: kernel/virtio.ko
kernel/usbcore.ko:
kernel/xhci.ko: kernel/usbcore.ko
kernel/usb-storage.ko: kernel/usbcore.ko
kernel/sd_mod.ko:
kernel/led.ko:
kernel/codec.ko: kernel/led.ko
kernel/hda.ko:
kernel/t10.ko:
kernel/ext4.ko:
kernel/evdev.ko:
kernel/broken.ko: kernel/nowhere.ko
""",
    "modules.alias": b"""\
alias pci:virtio* virtio_pci
alias virtio:blk* virtio_blk
alias pci:usb* xhci
alias usb:disk* usb_storage
alias scsi:disk* sd_mod
alias pci:hda* hda
alias input:* evdev
alias pci:broken* broken
""",
    "modules.softdep": b"softdep sd_mod pre: t10\n",
    "modules.builtin": b"kernel/serial.ko\n",
    "modules.builtin.modinfo": b"serial.alias=acpi*:UART:*\0serial.license=GPL\0",
}
PCI = "/devices/pci0000:00/"
BLK, USB, HDA = PCI + "0000:00:01.0", PCI + "0000:00:02.0/0000:01:00.0", PCI + "0000:00:03.0"


def one(devpath: str, subsystem: str, modalias: str = "", driver: str = "", module: str = "") -> Captured:
    return Captured(Device(devpath, subsystem, modalias, driver), module)


DEVICES = (
    one(BLK, "pci", "pci:virtio1", "virtio-pci", "virtio_pci"),
    one(BLK + "/virtio0", "virtio", "virtio:blk", "virtio_blk", "virtio_blk"),
    one(PCI + "0000:00:02.0", "pci", "pci:bridge", "pcieport"),
    one(USB, "pci", "pci:usb", "xhci_hcd", "xhci"),
    one(USB + "/usb1", "usb", "", "usb", "usbcore"),
    one(USB + "/usb1/1-1/1-1:1.0", "usb", "usb:disk", "usb-storage", "usb_storage"),
    one(USB + "/usb1/1-1/1-1:1.0/host0/0:0:0:0", "scsi", "scsi:disk", "sd", "sd_mod"),
    one(HDA, "pci", "pci:hda", "hda", "hda"),
    one(HDA + "/hdaudioC0D0", "hdaudio", "hdaudio:v1", "codec", "codec"),
    one(PCI + "0000:00:04.0", "pci", "pci:unknown"),
    one("/devices/acpi/UART:00", "acpi", "acpi:UART:", "serial"),
    one("/devices/acpi/UART:01", "acpi", "acpi:UART:"),
    one("/devices/input0", "input", "input:b0"),
)
LIVE = [
    "virtio",
    "virtio_pci",
    "virtio_blk",
    "usbcore",
    "xhci",
    "usb_storage",
    "sd_mod",
    "t10",
    "hda",
    "codec",
    "led",
]
LIVE += ["evdev"]


def target(conf: str = "", append: str = "", tables: dict[str, bytes] | None = None) -> Target:
    config = {"/etc/modprobe.d/t.conf": conf} if conf else {}
    return make_target(tables or TABLES, config, append, "6.1.0-test", "this kernel", Flavour.BUSYBOX)


def machine(*more: Captured, modules: list[str] | None = LIVE, left: tuple[str, ...] = ()) -> Capture:
    return make_capture(CaptureKind.LEDGER, "6.1.0-test", (*DEVICES, *more), modules, left)


def fates(prediction: Prediction) -> dict[str, Fate]:
    return {device.devpath: device.fate for device in prediction.devices}


def test_a_boot_comes_in_rounds() -> None:
    """Controllers first, what hangs on them once their drivers are there, each module once and after its needs."""
    prediction = predict(machine(), target())
    assert sorted([*prediction.modules, *prediction.requested]) == sorted(LIVE)
    rounds = {load.module: load.round for load in prediction.loads}
    assert rounds["virtio_pci"] == rounds["xhci"] == 0
    assert rounds["virtio_pci"] < rounds["virtio_blk"]
    assert rounds["xhci"] < rounds["usb_storage"] < rounds["sd_mod"]
    order = [load.module for load in prediction.loads]
    assert order.index("t10") < order.index("sd_mod")
    assert order.index("usbcore") < order.index("xhci")
    assert not prediction.lost
    assert not prediction.unexplained


@pytest.mark.parametrize(("live", "fate"), [(LIVE, Fate.BOUND), ([*LIVE, "pcieportdrv"], Fate.NO_MODULE)])
def test_what_drove_a_device_and_was_no_module_is_in_the_kernel(live: list[str], fate: Fate) -> None:
    """Since 6.10 /sys names the module also of a driver inside the kernel, which modules.builtin need not list."""
    port = PCI + "0000:00:05.0"
    there = machine(one(port, "pci", "pci:port", "pcieport", "pcieportdrv"), modules=live)
    assert fates(predict(there, target()))[port] is fate


def test_what_is_left_out_is_told() -> None:
    """Lines of the tables and of modprobe.d that the guest would pass over are at hand with file and line."""
    tables = {
        name: text + b"nonsense\n"
        for name, text in TABLES.items()
        if name in {"modules.dep", "modules.alias"}
    }
    problems = target("blaklist x\n", tables=tables).problems
    assert [problem.file.rpartition("/")[2] for problem in problems][:2] == ["modules.dep", "modules.alias"]
    assert problems[-1].message.startswith("unknown keyword 'blaklist'")


def test_what_the_kernel_requests_is_told_apart() -> None:
    """A codec that no alias leads to comes at the kernel's request, with what it needs, and not by the daemon."""
    prediction = predict(machine(), target())
    assert prediction.requested == ["led", "codec"]
    assert not {"led", "codec"} & set(prediction.modules)
    assert fates(prediction)[HDA + "/hdaudioC0D0"] is Fate.BOUND


def test_a_denied_driver_takes_its_children_along() -> None:
    """Without xhci nothing of USB appears; the PCI device itself does, behind its bridge, and says what denies."""
    prediction = predict(machine(), target("blacklist xhci\n"))
    found = fates(prediction)
    assert found[USB] is Fate.DENIED
    assert [path for path, fate in found.items() if fate is Fate.ABSENT] == [
        path for path in found if path.startswith(USB + "/")
    ]
    assert not {"xhci", "usb_storage", "sd_mod", "t10"} & set(prediction.modules)
    [denied] = [device for device in prediction.devices if device.devpath == USB]
    assert denied.why == "xhci: blacklist: /etc/modprobe.d/t.conf:1"
    text = render_prediction(prediction, "this kernel")
    assert "has its driver xhci_hcd" in text
    assert USB in text


def test_a_policy_denies_as_the_daemon_does() -> None:
    """A rule against USB hosts, and one against a module by name that only the kernel requests, with their lines."""
    text = '[[rule]]\naction = "deny"\nmodalias = "pci:usb*"\n[[rule]]\naction = "deny"\nmodule = "codec"\n'
    config = {"/etc/modaliasd/policy.toml": text}
    prediction = predict(
        machine(), make_target(TABLES, config, "", "6.1.0-test", "this kernel", Flavour.BUSYBOX)
    )
    found = {device.devpath: device for device in prediction.devices}
    assert found[USB].fate is Fate.DENIED
    assert "/etc/modaliasd/policy.toml:1" in found[USB].why
    assert found[HDA + "/hdaudioC0D0"].fate is Fate.ABSENT
    assert prediction.requested == []
    assert "virtio_blk" in prediction.modules


def test_a_request_is_not_held_off_by_a_blacklist_line_but_by_the_kernel() -> None:
    """`blacklist` counts for aliases; `module_blacklist=` refuses the codec, whose dependency comes all the same."""
    assert predict(machine(), target("blacklist codec\n")).requested == ["led", "codec"]
    refused = predict(machine(), target(append="module_blacklist=codec"))
    assert refused.requested == ["led"]
    assert fates(refused)[HDA + "/hdaudioC0D0"] is Fate.ABSENT


def test_devices_that_nothing_drives_say_why() -> None:
    """No alias, part of the kernel, not to be inserted, declined, left again: each device has its own reason."""
    more = (
        one(PCI + "0000:00:05.0", "pci", "pci:broken"),
        one(PCI + "0000:00:06.0", "pci", "pci:hda2"),
        one(PCI + "0000:00:07.0", "pci", "pci:else", "else", "elsewhere"),
    )
    live = [*LIVE, "elsewhere"]
    prediction = predict(machine(*more, modules=live), target())
    found = fates(prediction)
    assert found[PCI + "0000:00:04.0"] is Fate.NO_ALIAS
    assert found["/devices/acpi/UART:00"] is Fate.BOUND
    assert found["/devices/acpi/UART:01"] is Fate.BUILTIN
    assert found["/devices/input0"] is Fate.HANDLED
    assert found[PCI + "0000:00:05.0"] is Fate.BROKEN
    assert found[PCI + "0000:00:06.0"] is Fate.DECLINED
    assert found[PCI + "0000:00:07.0"] is Fate.NO_MODULE
    assert [device.devpath for device in prediction.lost] == [PCI + "0000:00:07.0"]
    alone = {device.devpath for device in prediction.without_driver}
    assert alone == {path for path, fate in found.items() if fate not in (Fate.BOUND, Fate.HANDLED)}
    left = predict(machine(*more, modules=live, left=("hda",)), target())
    assert fates(left)[PCI + "0000:00:06.0"] is Fate.DECLINED
    assert {load.module: load.outcome for load in left.loads}["hda"] is Outcome.NODEVICE


def test_a_bare_machine_is_foretold_as_far_as_it_is_known() -> None:
    """Captured without drivers: the first round's modules come, and the devices that would open are named."""
    bare = [
        one(c.devpath, c.device.subsystem, c.device.modalias) for c in DEVICES if c.devpath in (BLK, USB, HDA)
    ]
    prediction = predict(make_capture(CaptureKind.UDEV, "", bare, []), target())
    assert sorted(prediction.modules) == ["hda", "usbcore", "virtio", "virtio_pci", "xhci"]
    assert set(prediction.opened) == {BLK, USB, HDA}
    assert all(fate is Fate.EXPECTED for fate in fates(prediction).values())
    assert "3 devices had no driver in the capture" in render_prediction(prediction, "this kernel")


def test_a_host_bridge_below_a_device_belongs_to_its_driver() -> None:
    """PCI devices behind Intel's VMD appear by a driver, unlike those behind a PCI bridge."""
    vmd = one(PCI + "0000:00:0e.0", "pci", "pci:vmd", "vmd", "vmd")
    disk = one(
        PCI + "0000:00:0e.0/pci10000:e0/10000:e0:1d.0", "pci", "pci:virtio2", "virtio-pci", "virtio_pci"
    )
    prediction = predict(make_capture(CaptureKind.UDEV, "", [vmd, disk], ["vmd", "virtio_pci"]), target())
    assert fates(prediction)[disk.devpath] is Fate.ABSENT
    assert prediction.modules == []


def test_modules_wanted_by_name_and_modules_that_stay_unexplained() -> None:
    """`modaliasd.load=` brings a file system; one that was just there is listed, and not predicted."""
    live = [*LIVE, "ext4", "gone_from_the_tree"]
    assert predict(machine(modules=live), target()).unexplained == ("ext4",)
    wanted = predict(machine(modules=live), target(append="modaliasd.load=ext4"))
    assert "ext4" in wanted.modules
    assert wanted.unexplained == ()


def test_what_an_image_knows_to_be_asked_for_is_requested() -> None:
    """A module that was there, and that one which comes asks for by name, comes at the kernel's request again."""
    live = [*LIVE, "ext4"]
    for line, requested in (
        (b"ext4 virtio_blk fs-ext4\n", True),
        (b"ext4 virtio_blk fs-*\n", False),
        (b"ext4 nobody fs-ext4\n", False),
    ):
        made = predict(machine(modules=live), target(tables={**TABLES, "modules.requested": line}))
        assert ("ext4" in made.requested) is requested
        assert made.unexplained == (() if requested else ("ext4",))
    known = target(tables={**TABLES, "modules.requested": b"ext4 virtio_blk fs-ext4\n"})
    assert "ext4" not in predict(machine(), known).requested, "it was not there"


def test_the_json_holds_what_the_values_do() -> None:
    """Every list of the prediction is there, and it is JSON."""
    prediction = predict(machine(), target("blacklist xhci\n"))
    fields = json.loads(json.dumps(prediction_fields(prediction)))
    assert fields["modules"] == prediction.modules
    assert {row["devpath"]: row["fate"] for row in fields["devices"]} == {
        path: fate.value for path, fate in fates(prediction).items()
    }
    assert fields["lost"] == [device.devpath for device in prediction.lost]
    assert next(row for row in fields["loads"] if row["module"] == "sd_mod" or row["module"] == "virtio")[
        "causes"
    ]


def test_a_node_of_a_device_tree() -> None:
    """Where a device comes from a tree, its node is named with what matched, and in JSON with all its compatibles."""
    uart = "of:NserialT(null)Cacme,uart-2Cacme,uart"
    board = make_capture(
        CaptureKind.DEVICETREE, "", [Captured(Device("/x", "platform", uart, of_node="/soc/serial@9000"))]
    )
    assert parse_capture(render_capture(board)) == board, "its file keeps the path"
    aliases = b"alias of:N*T*Cacme,uartC* led\nalias of:N*T*Cacme,uart led\n"
    prediction = predict(board, target(tables={**TABLES, "modules.alias": aliases}))
    said = "node /soc/serial@9000, compatible acme,uart, which is more general than acme,uart-2"
    assert said in render_prediction(prediction, "this kernel", of_tree=True)
    [row] = prediction_fields(prediction)["devices"]
    assert row["device_tree"] == {
        "node": "/soc/serial@9000",
        "compatible": ["acme,uart-2", "acme,uart"],
        "matched": ["acme,uart"],
    }


def test_learning_takes_what_was_in_use() -> None:
    """Of a ledger what was in the kernel, of a capture what devices account for, of a recording what is predicted."""
    live = [*LIVE, "ext4"]
    assert learn(machine(modules=live), target()).modules == tuple(sorted(live))
    capture = make_capture(CaptureKind.UDEV, "", DEVICES, live)
    learned = set(learn(capture, target()).modules)
    assert "ext4" not in learned
    assert {"virtio_blk", "codec", "evdev"} <= learned
    recording = make_capture(CaptureKind.UMOCKDEV, "", [Captured(c.device) for c in DEVICES])
    assert set(learn(recording, target()).modules) == set(LIVE) - {"led", "codec"}


def test_learning_for_another_kernel_follows_the_devices() -> None:
    """A module that the kernel has under another name is replaced by what its device asks for there."""
    tables = {name: text.replace(b"xhci", b"usb_host") for name, text in TABLES.items()}
    learned = learn(machine(), target(tables=tables))
    assert "usb_host" in learned.modules
    assert learned.lacking == ("xhci",)
    with pytest.raises(InputError, match="nothing can be learned"):
        learn(make_capture(CaptureKind.LEDGER, "", [], []), target())


def test_a_proof_names_what_differs() -> None:
    """Two boots with the same drivers prove it; another driver, none, and a missing device are told one by one."""

    def boot(driver: str, *, disk: bool = True) -> Maker:
        maker = Maker()
        maker.device(BLK, subsystem="pci", modalias="pci:v1", driver=driver)
        if disk:
            maker.device(f"{BLK}/virtio{len(driver)}", subsystem="virtio", driver="virtio_blk")
        return maker

    def proof(before: Maker, after: Maker) -> tuple[bool, int, int, int]:
        found = prove(history_of(before.records), history_of(after.records))
        return found.holds, found.same, len(found.changed), len(found.gone)

    assert proof(boot("a"), boot("a")) == (True, 2, 0, 0)
    assert proof(boot("a"), boot("other")) == (False, 1, 1, 0)
    assert proof(boot("a"), boot("")) == (False, 1, 1, 0)
    assert proof(boot("a"), boot("a", disk=False)) == (False, 1, 0, 1)
    assert proof(boot("", disk=False), boot("")) == (False, 0, 0, 0)


def make_image(path: Path, files: dict[str, bytes]) -> Path:
    with path.open("wb") as out:
        archive = Writer(out.write)
        parents = {str(parent) for name in files for parent in PurePath(name).parents} - {"."}
        for number, name in enumerate(sorted(parents), len(files) + 1):
            archive.add(Member(name, 0o40755, ino=number))
        for number, (name, data) in enumerate(files.items(), 1):
            archive.add(Member(name, 0o100644, ino=number), data)
        archive.close()
    return path


def test_an_images_own_files_count(tmp_path: Path) -> None:
    """Tables and modprobe.d are read out of an image that somebody else made; an overlay's file hides the image's."""
    tree = {f"usr/lib/modules/6.1.0-test/{name}": data for name, data in TABLES.items()}
    image = make_image(tmp_path / "a.img", {**tree, "etc/modprobe.d/deny.conf": b"blacklist xhci\n"})
    assert "xhci" not in predict(machine(), open_image(image, {})).modules
    overlay = tmp_path / "overlay/etc/modprobe.d"
    overlay.mkdir(parents=True)
    (overlay / "deny.conf").write_text("blacklist virtio_pci\n", encoding="ascii")
    modules = predict(machine(), open_image(image, read_config([tmp_path / "overlay"], []))).modules
    assert "xhci" in modules
    assert "virtio_pci" not in modules
    with pytest.raises(InputError, match="cannot tell which modules"):
        open_image(make_image(tmp_path / "b.img", {"init": b"x"}), {})
    with pytest.raises(InputError, match=r"cannot read the initramfs image .*c\.img: No such file"):
        open_image(tmp_path / "c.img", {})


def test_modules_load_d_counts_as_in_the_guest(tmp_path: Path) -> None:
    """Listed modules come after the first walk's, by name or alias; a blacklist counts, a hidden file says nothing."""
    tree = {f"usr/lib/modules/6.1.0-test/{name}": data for name, data in TABLES.items()}
    lists = {
        "etc/modules": b"ext4 some=option\n# led\n",
        "etc/modules-load.d/a.conf": b"no_such\n",
        "usr/lib/modules-load.d/a.conf": b"led\n",
        "usr/lib/modules-load.d/b.txt": b"led\n",
    }
    target = open_image(make_image(tmp_path / "a.img", {**tree, **lists}), {})
    [load] = [load for load in predict(machine(), target).loads if load.module == "ext4"]
    assert (load.round, load.outcome, load.causes) == (0, Outcome.INSERTED, (Cause(request="/etc/modules"),))
    assert "led" not in predict(machine(), target).modules
    [problem] = target.problems
    assert (problem.file, problem.line) == ("/etc/modules-load.d/a.conf", 1)
    overlay = tmp_path / "overlay/etc/modprobe.d"
    overlay.mkdir(parents=True)
    (overlay / "deny.conf").write_text("blacklist ext4\n", encoding="ascii")
    denied = open_image(tmp_path / "a.img", read_config([tmp_path / "overlay"], []))
    assert "ext4" not in predict(machine(), denied).modules
    words = open_image(make_image(tmp_path / "b.img", tree), {}, "modules_load=ext4")
    assert "ext4" in predict(machine(), words).modules


def test_the_command_ends_with_1_where_a_driver_would_be_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same image without and with a denied module; text and JSON; --config counts as in /etc/modprobe.d."""
    tree = {f"lib/modules/6.1.0-test/{name}": data for name, data in TABLES.items()}
    image = make_image(tmp_path / "a.img", tree)
    capture = tmp_path / "capture.json"
    capture.write_text(render_capture(machine()), encoding="ascii")
    argv = ["predict", str(capture), "--image", str(image)]
    assert status_of(argv) == 0
    assert "virtio_pci" in capsys.readouterr().out
    deny = tmp_path / "deny"
    deny.write_text("blacklist virtio_blk\n", encoding="ascii")
    assert status_of([*argv, "--config", str(deny), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["lost"] == [BLK + "/virtio0"]
    assert status_of([*argv, "--kernel", "running"]) == 100


def test_the_real_boots_ledger_is_a_machine(tmp_path: Path) -> None:
    """The capture of a real q35 has its devices, drivers and modules."""
    capture = capture_of_history(history_of(q35_records()))
    assert capture.modules is not None
    assert {"virtio_blk", "snd_hda_codec_generic", "usbcore"} <= capture.modules
    drivers = {c.device.driver: c.module for c in capture.devices if c.device.driver}
    assert drivers["e1000"] == "e1000"
    assert drivers["xhci_hcd"] == "xhci_pci"
