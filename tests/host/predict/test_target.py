"""What predictions are made for: a kernel with all its modules, an image with its modules in a squashfs, overlays."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hostbuild.errors import InputError, WorldError
from hostbuild.formats.initramfs.newc import Member, Writer
from hostbuild.kernels.kernel import Kernel, KernelError
from hostbuild.predict.capture import Captured, CaptureKind, make_capture, parse_capture
from hostbuild.predict.machine import capture_machine
from hostbuild.predict.simulate import predict
from hostbuild.predict.target import make_target, open_image, open_kernel, read_config
from hostbuild.predict.text import render_prediction
from modaliasd.core.device import Device
from modaliasd.core.kmod.invocation import Flavour
from modaliasd.core.loading.outcome import Outcome
from modaliasd.core.policy.rules import Policy
from tests.support.programs import require_program

NIC = "pci:v00008086d0000100Esv00001AF4sd00001100bc02sc00i00"
TABLES = {
    "modules.dep": b"kernel/nic.ko: kernel/mii.ko\nkernel/mii.ko:\n",
    "modules.alias": b"alias pci:v* nic\n",
    "modules.builtin": b"",
}


@pytest.mark.slow
def test_a_kernel_predicts_what_modprobe_resolves(debian_kernel: Kernel) -> None:
    """All its modules are there: for a card's modalias those that `modprobe -R` names."""
    assert debian_kernel.modules is not None
    target = open_kernel(debian_kernel, {})
    argv = [require_program("modprobe"), "-R", "-S", debian_kernel.version, NIC]
    root = next(parent for parent in debian_kernel.modules.parents if (parent / "lib").is_dir())
    done = subprocess.run(
        [*argv[:1], "-d", str(root), *argv[1:]], capture_output=True, text=True, check=False
    )
    named = done.stdout.split() or [
        "e1000"
    ]  # where the tree has no indexes of kmod's: what the kernel's source says
    assert [match.module for match in target.resolver.resolve(NIC).matches] == named
    card = Captured(Device("/devices/pci0/card", "pci", NIC))
    assert predict(make_capture(CaptureKind.SYSFS, "", [card], None), target).modules == named


def test_a_kernel_without_modules_predicts_nothing(debian_kernel: Kernel) -> None:
    """That is said, with the option that names them."""
    with pytest.raises(KernelError, match="no modules were found for the kernel") as caught:
        open_kernel(replace(debian_kernel, modules=None, indexes=None), {})
    assert caught.value.hint == "--modules-dir"


def test_modules_in_a_squashfs_are_as_those_beside_one_another(tmp_path: Path) -> None:
    """The tables of an image that keeps its modules in a squashfs are read out of it; one may be absent."""
    tree = tmp_path / "tree"
    tree.mkdir()
    for name, data in TABLES.items():
        (tree / name).write_bytes(data)
    packed = tmp_path / "modules.squashfs"
    argv = [require_program("mksquashfs"), str(tree), str(packed), "-quiet", "-no-progress"]
    subprocess.run(argv, check=True, capture_output=True, timeout=60)
    image = tmp_path / "a.img"
    with image.open("wb") as out:
        archive = Writer(out.write)
        for number, name in enumerate(("usr", "usr/lib", "usr/lib/modules"), 1):
            archive.add(Member(name, 0o40755, ino=number))
        archive.add(Member("usr/lib/modules/6.1.0-test.squashfs", 0o100644, ino=9), packed.read_bytes())
        archive.close()
    plan = open_image(image, {}).resolver.resolve("pci:v1")
    assert [step.module for step in plan.steps] == ["mii", "nic"]
    assert plan.steps[1].needs == ("mii",)


def test_an_overlays_policy_counts(tmp_path: Path) -> None:
    """Beside modprobe.d and modules-load.d: single files are taken from their places."""
    policy = tmp_path / "etc/modaliasd/policy.toml"
    policy.parent.mkdir(parents=True)
    policy.write_text('[[rule]]\naction = "deny"\nmodule = "nic"\n', encoding="ascii")
    target = make_target(TABLES, read_config([tmp_path], []), "", "6.1.0-test", "this image", Flavour.KMOD)
    assert isinstance(target.policy, Policy)
    card = Captured(Device("/devices/card", "pci", "pci:v1"))
    assert predict(make_capture(CaptureKind.SYSFS, "", [card], None), target).modules == []


def test_a_file_of_modprobe_d_that_cannot_be_read() -> None:
    """It is named, with the reason."""
    with pytest.raises(InputError, match=r"cannot read /proc/self/mem: Input/output error"):
        read_config([], [Path("/proc/self/mem")])


def test_what_modprobe_d_runs_instead_is_told() -> None:
    """A module with an install line is not predicted to come: its command is."""
    config = {"/etc/modprobe.d/x.conf": "install nic /sbin/nic-helper\n"}
    target = make_target(TABLES, config, "", "6.1.0-test", "this image", Flavour.KMOD)
    card = Captured(Device("/devices/card", "pci", "pci:v1"))
    prediction = predict(make_capture(CaptureKind.SYSFS, "", [card], None), target)
    assert {load.module: load.outcome for load in prediction.loads}["nic"] is Outcome.COMMAND


def test_a_module_that_finds_nothing_to_drive_is_told() -> None:
    """It left again on the captured machine, and will here."""
    card = Captured(Device("/devices/card", "pci", "pci:v1"))
    capture = make_capture(CaptureKind.LEDGER, "6.1.0-test", [card], ["mii"], ["nic"])
    target = make_target(TABLES, {}, "", "6.1.0-test", "this image", Flavour.KMOD)
    assert ", and leaves again: its init found nothing to drive" in render_prediction(
        predict(capture, target), "this image"
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{"type": "ledger"}', "JSON of another kind"),
        ("[1, 2]", "JSON of another kind"),
        ('{"source":"sysfs"', "'devices' is missing"),
        ('{"source":"nobody","devices":[]', "'nobody' is not a valid CaptureKind"),
        (
            '{"source":"sysfs","devices":[{"devpath":"/devices/x","modalias":5}]',
            "damaged capture: not a device: ",
        ),
        ('{"source":"sysfs","devices":[{"devpath":"devices/x"}]', "damaged capture: not a device: "),
    ],
)
def test_json_that_is_no_capture(text: str, complaint: str) -> None:
    """Each says what is wrong with it, without Python's words."""
    if text.startswith('{"source"'):
        text = '{"type":"capture","format":1,' + text[1:] + "}"
    with pytest.raises(InputError, match=complaint) as caught:
        parse_capture(text)
    assert "Error(" not in str(caught.value)


def test_a_host_without_libudev(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package is named."""
    monkeypatch.setitem(sys.modules, "pyudev", None)
    with pytest.raises(WorldError, match="cannot load libudev") as caught:
        capture_machine()
    assert "libudev1" in (caught.value.hint or "")
