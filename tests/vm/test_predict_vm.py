"""What `hostbuild predict` predicts, held against real boots of six machines; the witness is a dump of /sys.

Three sets have to be equal: the modules that the daemon loads, those that the kernel requests by itself, and the
devices with a modalias that are left without a driver. In the second half the capture is of another boot than the
one predicted: of the same machine with an image that has all its modules, nothing denied.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from hostbuild.image.build import BuiltImage, ImageOptions, build_image
from hostbuild.ledger.diff import keyed
from hostbuild.ledger.file import write_ledger
from hostbuild.ledger.stream import Record
from hostbuild.main import status_of
from hostbuild.predict.capture import Capture, capture_of_history
from hostbuild.predict.prediction import Fate, Prediction
from hostbuild.predict.prove import prove
from hostbuild.predict.simulate import predict
from hostbuild.predict.target import open_image
from hostbuild.qemu.machine import read_machine
from modaliasd.core.ledger.history import DeviceHistory, history_of
from tests.support.boots import vm_of
from tests.support.schema import check_records
from tests.support.sysdump import MACHINES, dump_capture

pytestmark = pytest.mark.vm

NAMES = ("empty", "virtio", "i440fx", "q35", "disks", "usb")


@dataclass(frozen=True)
class Seen:
    """A boot: its ledger, and at the same time /sys and the modules in the kernel."""

    records: list[Record]
    sys: Capture
    live: frozenset[str]

    @property
    def told(self) -> Capture:
        """The capture that the ledger makes."""
        return capture_of_history(history_of(self.records))

    @property
    def loaded(self) -> set[str]:
        """The modules that the daemon had inserted."""
        return {r["module"] for r in self.records if r["type"] == "load" and r["outcome"] == "inserted"}

    @property
    def appeared(self) -> set[str]:
        """The modules that came at the kernel's request."""
        return {r["module"] for r in self.records if r["type"] == "module" and r["action"] == "add"}

    @property
    def early(self) -> set[str]:
        """The modules that the kernel had asked for before the daemon began, as 6.12 does for a cipher."""
        return set(self.live) - self.loaded - self.appeared

    @property
    def without_driver(self) -> set[str]:
        """The devices with a modalias and without a driver, by /sys."""
        return {one.devpath for one in self.sys.devices if one.device.modalias and not one.device.driver}


def path_of(machine: str) -> str:
    """The machine's name, or the path of its file if it is the tests' own."""
    own = MACHINES / f"{machine}.toml"
    return str(own) if own.exists() else machine


def boot(image: BuiltImage, machine: str, append: str = "") -> Seen:
    """Boot, wait until ledger and /sys tell of the same devices and drivers, and give both."""
    with vm_of(image, read_machine(path_of(machine)), append=append, memory="768", limit_s=400) as vm:
        vm.settled(timeout=300)
        deadline = time.monotonic() + 60
        while True:
            vm.check("modaliasd settle --timeout 60", timeout=90)
            live = frozenset(vm.check("cut -d' ' -f1 /proc/modules").split())
            seen = Seen(list(vm.ledger), dump_capture(vm), live)
            if bindings(seen.sys) == bindings(seen.told):
                return seen
            assert time.monotonic() < deadline, bindings(seen.sys) ^ bindings(seen.told)
            time.sleep(0.5)


def bindings(capture: Capture) -> set[tuple[str, str]]:
    """(devpath, driver) of every device with a modalias."""
    return {(one.devpath, one.device.driver) for one in capture.devices if one.device.modalias}


def alone(prediction: Prediction) -> set[str]:
    """The devices with a modalias that are predicted to be there without a driver."""
    driven = (Fate.BOUND, Fate.EXPECTED, Fate.ABSENT)
    return {device.devpath for device in prediction.devices if device.modalias and device.fate not in driven}


def keys(devpaths: set[str]) -> set[str]:
    """What devices are known by across boots."""
    return set(keyed(DeviceHistory(path, 0) for path in devpaths))


@pytest.fixture(scope="module")
def boots(image: BuiltImage) -> Callable[[str], Seen]:
    """Boots of the default image by machine, each made once."""
    return cache(lambda machine: boot(image, machine))


@pytest.fixture(params=NAMES)
def seen(request: pytest.FixtureRequest, boots: Callable[[str], Seen]) -> Seen:
    """The boot of one machine after the other."""
    return boots(request.param)


def test_the_ledgers_machine_is_foretold(seen: Seen, image: BuiltImage) -> None:
    """From the boot's ledger: equal modules, equal requests of the kernel, equal devices without a driver."""
    prediction = predict(seen.told, open_image(image.image, {}))
    assert set(prediction.modules) - seen.early == seen.loaded
    assert set(prediction.requested) == seen.appeared
    assert alone(prediction) == seen.without_driver
    assert not prediction.lost
    assert not prediction.opened
    assert not prediction.unexplained


def test_a_foreign_recording_foretells_the_same_loads(seen: Seen, image: BuiltImage) -> None:
    """From /sys alone, which does not tell which module a driver is of: equal modules, nobody unexpectedly alone."""
    prediction = predict(seen.sys, open_image(image.image, {}))
    assert set(prediction.modules) - seen.early == seen.loaded
    assert alone(prediction) <= seen.without_driver
    assert seen.without_driver - alone(prediction) == set(prediction.opened)


def test_dependencies_come_first(seen: Seen, image: BuiltImage) -> None:
    """Every module is predicted after all that it needs, and once."""
    prediction = predict(seen.told, open_image(image.image, {}))
    place = {load.module: at for at, load in enumerate(prediction.loads)}
    assert len(place) == len(prediction.loads)
    for load in prediction.loads:
        assert all(place[need] < place[load.module] for need in load.needs), load.module


def test_the_ledger_keeps_to_its_format(seen: Seen) -> None:
    """Every record of these boots is valid by the schema."""
    assert check_records(seen.records) > 100


@pytest.fixture
def whole(boots: Callable[[str], Seen]) -> Seen:
    """The boot of q35: what the following predictions start from."""
    return boots("q35")


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> BuiltImage:
    """An image that has drivers for virtio and a sound card only."""
    path = tmp_path_factory.mktemp("bare") / "bare.img"
    return build_image(path, ImageOptions(kernel="deb:linux-image-amd64", modules="virtio,snd_hda_intel"))


def check_against(prediction: Prediction, boot_after: Seen) -> None:
    """Hold a prediction against a boot whose devices the kernel may have numbered otherwise."""
    assert set(prediction.modules) - boot_after.early == boot_after.loaded
    assert set(prediction.requested) == boot_after.appeared
    assert keys(alone(prediction)) == keys(boot_after.without_driver)
    there = {d.devpath for d in prediction.devices if d.modalias and d.fate is not Fate.ABSENT}
    assert keys(there) == keys({one.devpath for one in boot_after.sys.devices if one.device.modalias})


def test_another_image_is_foretold(whole: Seen, bare: BuiltImage) -> None:
    """An image without most drivers: their devices are alone, and what hangs on them is not there."""
    prediction = predict(whole.told, open_image(bare.image, {}))
    assert len(prediction.lost) > 30
    after = boot(bare, "q35")
    check_against(prediction, after)
    proof = prove(history_of(whole.records), history_of(after.records))
    assert not proof.holds
    unproved = {*proof.gone, *(change.what for change in proof.changed)}
    assert unproved == {device.devpath for device in prediction.lost}


def test_denied_modules_are_foretold(whole: Seen, image: BuiltImage) -> None:
    """Modules denied on the kernel's command line take their devices' children with them."""
    append = "modprobe.blacklist=xhci_pci,virtio_blk module_blacklist=snd_hda_codec_generic"
    prediction = predict(whole.told, open_image(image.image, {}, append))
    assert any(device.fate is Fate.DENIED for device in prediction.devices)
    assert any(device.fate is Fate.ABSENT for device in prediction.devices)
    check_against(prediction, boot(image, "q35", append))


def test_a_learned_image_is_smaller_and_drives_the_same(
    whole: Seen, image: BuiltImage, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """`make-image --learn` takes what the boot used; `prove` boots it and finds every driver again."""
    ledger, small = tmp_path / "boot.jsonl", tmp_path / "small.img"
    write_ledger(ledger, whole.records)
    build = ["make-image", "-o", str(small), "--kernel", "deb:linux-image-amd64", "--learn", str(ledger)]
    assert status_of(build) == 0
    assert small.stat().st_size < image.image.stat().st_size
    capfd.readouterr()
    assert status_of(["prove", str(small), "--ledger", str(ledger), "--machine", "q35", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)
