"""modaliasd in a Debian with systemd: beside udevd, which loads, and in place of its loading rule."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hostbuild.kernels.kernel import Kernel
from hostbuild.qemu.boot import Boot
from hostbuild.qemu.machine import read_machine
from hostbuild.qemu.vm import VM
from modaliasd.core.ledger.answers.explain import why_module
from modaliasd.core.ledger.history import History, history_of
from tests.support.debianroot import ENABLE, REPLACE, make_debian
from tests.support.kernelfiles import builtin_names
from tests.support.schema import check_records

pytestmark = pytest.mark.vm

BOOT_S = 600  # until multi-user.target, on a busy machine without KVM
# What comes without a device that asks: by request_module, from the place in the kernel or the program that is named.
REQUESTED = {
    "autofs4": "systemd, for automount units",
    "fuse": "systemd, by modules-load.d or a mount",
    "loop": "modprobe@loop.service",
    "dm_mod": "modprobe@dm_mod.service",
    "efi_pstore": "modprobe@efi_pstore.service",
    "configfs": "modprobe@configfs.service",
    "drm": "modprobe@drm.service",
    "binfmt_misc": "an automount's first use",
    "ip_tables": "systemd's cgroup firewall",
    "crc64_rocksoft_generic": "lib/crc64-rocksoft.c asks the crypto API",
    "sg": "systemd's rules, for each SCSI device",
    "snd_hda_codec_generic": "sound/pci/hda/hda_bind.c, before the codec's device is registered",
    "crct10dif_generic": "lib/crc-t10dif.c asks the crypto API",
}
EARLY = ("virtio_pci", "virtio_blk", "ext4")  # the initramfs had them loaded


@pytest.fixture(scope="module")
def debian(debian_kernel: Kernel, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The disk, and the initramfs that boots it."""
    return make_debian(tmp_path_factory.mktemp("debian"), debian_kernel)


@contextmanager
def booted(debian: tuple[Path, Path], kernel: Kernel, words: str, *devices: str) -> Iterator[VM]:
    """The Debian, once systemd has started everything."""
    disk, initrd = debian
    machine = read_machine("q35", [f"virtio-blk-pci,id=root,file={disk}", *devices])
    boot = Boot(kernel.vmlinuz, initrd, append=f"quiet {words}", memory=1024, limit_s=BOOT_S + 200)
    with VM(machine, boot) as vm:
        assert vm.sh("systemctl is-system-running --wait", timeout=BOOT_S).output == "running\n"
        yield vm


def loaded(vm: VM) -> set[str]:
    """The witness: the modules in the kernel, once none has come for a while."""
    wait = (
        'old=; while new=$(cut -d\' \' -f1 /proc/modules); [ "$new" != "$old" ]; do old=$new; sleep 8; done'
    )
    vm.check(f"udevadm settle; {wait}", timeout=200)
    vm.check("modaliasd settle --timeout 120", timeout=150)
    return set(vm.check("cut -d' ' -f1 /proc/modules").split())


def devices_behind(history: History, module: str, seen: tuple[str, ...] = ()) -> set[str]:
    """The devices for which the module came, by the ledger: those that ask for it, or for what needs it."""
    why = why_module(history, module)
    if why is None or module in seen:
        return set()
    found = {asker.device.devpath for asker in why.askers}
    for other in (*why.needed_by, *why.softdep_of):
        found |= devices_behind(history, other, (*seen, module))
    return found


def needed_for(history: History, module: str, seen: tuple[str, ...] = ()) -> set[str]:
    """The modules that have it loaded, up to those that none has."""
    why = why_module(history, module)
    above = () if why is None else tuple(one for one in why.needed_by if one not in seen)
    return set().union(*[needed_for(history, one, (*seen, module)) for one in above]) if above else {module}


def test_beside_udevd_every_module_has_its_device(debian: tuple[Path, Path], debian_kernel: Kernel) -> None:
    """Of all that udevd loads the ledger names the device; the rest was requested, and each has its reason above.

    Nothing is loaded by the daemon, nothing changed, and it ends when systemd asks it to.
    """
    with booted(debian, debian_kernel, f"{ENABLE}modaliasd-observe.service") as vm:
        there = loaded(vm)
        history = history_of(vm.ledger)
        check_records(vm.ledger)
        assert history.watched
        observed = {load.module for load in history.loads if load.outcome == "observed"}
        assert len(observed) > 60
        nameless = {name for name in there & observed if not devices_behind(history, name)}
        assert {name for name in nameless if not needed_for(history, name) & REQUESTED.keys()} == set()
        for early in set(EARLY[:2]) - builtin_names(debian_kernel):
            assert devices_behind(history, early), early
        assert vm.check("cat /proc/sys/kernel/modprobe") == "/sbin/modprobe\n"
        assert "only observes" in vm.sh("modaliasd load dummy").output
        said = vm.check("modaliasd why e1000 --color=never")
        assert "pci 0000:00:0d.0 asked for it" in said
        assert "somebody else had it loaded" in said
        assert "no device here asks for it" in vm.check("modaliasd why-not nouveau")
        plugged = len(vm.ledger)
        vm.device_add("ES1370", id="card")
        vm.wait_for(
            lambda r: r["type"] == "load" and r["module"] == "snd_ens1370", timeout=150, since=plugged
        )
        assert "pci " in vm.check("modaliasd why snd_ens1370 --color=never")
        unit = vm.check(
            "systemctl stop modaliasd-observe; systemctl show -p Result -p ExecMainStatus modaliasd-observe"
        )
        assert set(unit.split()) == {"Result=success", "ExecMainStatus=0"}
        assert "settled: " in vm.check("systemctl show -p StatusText modaliasd-observe")


def test_in_place_of_udevs_rule(debian: tuple[Path, Path], debian_kernel: Kernel) -> None:
    """With its loading rule replaced udevd loads nothing, and modaliasd.service loads what it did; all units start."""
    with booted(debian, debian_kernel, f"{ENABLE}modaliasd.service {REPLACE}") as vm:
        there = loaded(vm)
        history = history_of(vm.ledger)
        inserted = {load.module for load in history.loads if load.outcome == "inserted"}
        assert len(inserted) > 60
        assert {"e1000", "nvme", "usb_storage", "ahci"} <= inserted <= there
        assert not history.watched
        vm.check("test -e /dev/disk/by-label/debian-root", timeout=30)  # udevd does the rest of its work
        assert vm.check("cat /proc/sys/kernel/modprobe") == "/sbin/modprobe\n"
