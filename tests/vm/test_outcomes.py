"""What becomes of a load, in a guest: each outcome with its words, and the kernel's command line.

One boot of a machine with a few devices; its image holds a module that was packed without the kernel being able to
unpack it, one that was built for another kernel, one that does not fit its signature, and a blacklist.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from hostbuild.image.build import BuiltImage, ImageOptions, build_image
from hostbuild.kernels.kernel import Kernel
from hostbuild.ledger.stream import Record
from hostbuild.qemu.device import parse_device
from hostbuild.qemu.machine import read_machine
from hostbuild.qemu.vm import VM
from modaliasd.core.settings import next_args
from tests.support.boots import vm_of
from tests.support.kernelfiles import builtin_names, plain_module
from tests.support.places import OVERLAY
from tests.support.schema import check_records

pytestmark = pytest.mark.vm

CONF = """\
# no beeping
blacklist pcspkr
options dummy numdummies=3
install 8139cp sleep 12
"""
HELPER = "/usr/lib/micro/request-module"
COMMAND_LINE = (
    "quiet module_blacklist=virtio_rng modprobe.blacklist=virtio_balloon modaliasd.log=ledger "
    "modaliasd.load=dummy,acpi-cpufreq,cfg80211 modaliasd.load=nonsense modaliasd.jbos=2 "
    'kt_a="b c" "kt_d=e f" kt_g=h" "i kt_j= kt_k=="l" "kt_m="n" o" kt_p="q"r'
)


def without_signature(module: bytes) -> bytes:
    """The module without what sign-file has put behind it (scripts/sign-file.c: signature, 12 bytes, a line)."""
    end = len(module) - len(b"~Module signature appended~\n") - 12
    return module[: end - int.from_bytes(module[end + 8 : end + 12], "big")]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "kernel/drivers/watchdog/i6300esb.ko": lambda data: b"\x28\xb5\x2f\xfd" + without_signature(data)[4:],
    "kernel/drivers/net/ethernet/intel/e1000/e1000.ko": lambda data: without_signature(data).replace(
        b" SMP ", b" UP_ "
    ),
    "kernel/drivers/net/ethernet/intel/e1000e/e1000e.ko": lambda data: data.replace(b"\0", b"\1", 1),
}


@pytest.fixture(scope="module")
def vm(debian_kernel: Kernel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VM]:
    """The machine, settled."""
    directory = tmp_path_factory.mktemp("outcomes")
    built = make_image(debian_kernel, directory)
    machine = read_machine("virtio").plus(map(parse_device, ["e1000", "e1000e", "i6300esb", "rtl8139"]))
    with vm_of(built, machine, append=COMMAND_LINE, limit_s=300) as running:
        running.settled(timeout=200)
        yield running


def make_image(kernel: Kernel, directory: Path) -> BuiltImage:
    """Build the image with its damaged modules, which are put into their places before anything is loaded.

    make-image itself would refuse modules that cannot be loaded for sure.
    """
    overlay = directory / "overlay"
    (overlay / "etc/modprobe.d").mkdir(parents=True)
    (overlay / "etc/modprobe.d/quiet.conf").write_text(CONF)
    for path, damage in DAMAGES.items():
        target = overlay / "usr/lib/damaged" / path
        target.parent.mkdir(parents=True)
        target.write_bytes(damage(plain_module(kernel, Path(path).stem)))
    init = f"#!/bin/sh\ncp -r /usr/lib/damaged/kernel /usr/lib/modules/{kernel.version}/\nexec /init.own\n"
    for name, text in (("init", init), ("init.own", (OVERLAY / "init").read_text())):
        (overlay / name).write_text(text)
        (overlay / name).chmod(0o755)
    selection = "virtio,e1000,e1000e,i6300esb,8139cp,pcspkr,dummy,acpi-cpufreq,cfg80211,loop,scsi_debug"
    selection += ",surface_dtx"
    options = ImageOptions(kernel="deb:linux-image-amd64", modules=selection, overlays=(overlay,))
    return build_image(directory / "outcomes.img", options)


def load_of(vm: VM, module: str) -> Record:
    """The last record of the module's load."""
    return [r for r in vm.ledger if r["type"] == "load" and r["module"] == module][-1]


def is_load_of(module: str, record: Record) -> bool:
    """Does the record tell of the module's load?"""
    return bool(record["type"] == "load" and record["module"] == module)


DENIED = [
    ("pcspkr", "blacklist: /etc/modprobe.d/quiet.conf:2"),
    ("virtio_balloon", "blacklist: kernel command line"),
    ("virtio_rng", "module_blacklist: kernel command line"),
]


@pytest.mark.parametrize(("module", "message"), DENIED)
def test_denied(vm: VM, module: str, message: str) -> None:
    """The record names the line of the file that denies it, or the kernel's command line, and the device."""
    load = load_of(vm, module)
    assert (load["outcome"], load["message"]) == ("denied", message)
    kernels = message.startswith("module_blacklist")
    assert load["failure"] == ("module_blacklist" if kernels else "blacklist")
    assert load["causes"][0]["devpath"]
    assert module not in vm.check("cut -d' ' -f1 /proc/modules").split()


def test_inserted(vm: VM) -> None:
    """A disk's driver is in, with its start, its end and the dependencies that came before it."""
    load = load_of(vm, "virtio_blk")
    assert load["outcome"] == "inserted"
    assert load["queued_us"] <= load["start_us"] <= load["end_us"]


def test_nothing_to_drive(vm: VM) -> None:
    """A driver whose init finds no device has left again, which is no failure."""
    load = load_of(vm, "acpi_cpufreq")
    assert load["outcome"] == "nodevice"
    assert "ENODEV" in load["message"]


def test_a_compressed_module(vm: VM) -> None:
    """The kernel's "Invalid ELF header magic" comes with what it means."""
    load = load_of(vm, "i6300esb")
    assert load["outcome"] == "failed"
    assert load["failure"] == "compressed"
    assert "Invalid ELF header magic" in load["message"]
    assert "compressed" in load["message"]


def test_a_module_of_another_kernel(vm: VM) -> None:
    """The kernel's words about the version magic come with what they mean."""
    load = load_of(vm, "e1000")
    assert load["outcome"] == "failed"
    assert load["failure"] == "wrong_kernel"
    assert " UP_ " in load["message"]
    assert "built for another kernel" in load["message"]


def test_a_damaged_module(vm: VM) -> None:
    """One that does not fit its signature is refused, and the message says so."""
    load = load_of(vm, "e1000e")
    assert load["outcome"] == "failed"
    assert load["failure"] == "signature"
    assert "signature is missing or bad" in load["message"]


def test_loaded_by_the_kernels_command_line(vm: VM) -> None:
    """modaliasd.load= adds up, has its name as the cause, and the module its options; nonsense is warned of."""
    load = load_of(vm, "dummy")
    assert load["outcome"] == "inserted"
    assert load["causes"] == [{"request": "modaliasd.load="}]
    assert "dummy2" in vm.check("ls /sys/class/net").split()
    assert any("nonsense" in r["message"] for r in vm.ledger if r["type"] == "warning")


def test_missing_firmware(vm: VM) -> None:
    """The file that a driver asked for and that the image lacks is told at the settle."""
    messages = [r["message"] for r in vm.ledger if r["type"] == "warning" and r["what"] == "firmware"]
    assert any(message.startswith("regulatory.db is missing: ") for message in messages), messages


def test_slow(vm: VM) -> None:
    """A load of more than 10 seconds is told of meanwhile, with its device; others go on, and it comes to its end."""
    (slow,) = [r for r in vm.ledger if r["type"] == "slow" and r["module"] == "8139cp"]
    assert slow["causes"][0]["modalias"].startswith("pci:v000010ECd00008139")
    assert slow["running_ms"] >= 10_000
    load = load_of(vm, "8139cp")
    assert (load["outcome"], load["message"]) == ("command", "ran: sleep 12")
    assert load["ms"] >= 12_000
    before = {r["module"] for r in vm.ledger[: vm.ledger.index(load)] if r["type"] == "load"}
    assert slow in vm.ledger[: vm.ledger.index(load)]
    assert {"virtio_blk", "virtio_net"} <= before


def test_deferred_probe(vm: VM) -> None:
    """A device whose driver waits for another one is named at the settle, once."""
    since = len(vm.ledger)
    vm.check("modaliasd load surface_dtx")  # it wants the Surface's controller, which never comes
    vm.check("echo surface_dtx_pltf >/sys/devices/platform/pcspkr/driver_override")
    vm.check("echo pcspkr >/sys/bus/platform/drivers_probe")
    assert vm.check("cat /sys/kernel/debug/devices_deferred").split()[0] == "pcspkr"
    vm.check("modaliasd settle; modaliasd settle")
    told = [
        r["message"] for r in vm.ledger[since:] if r["type"] == "warning" and r["what"] == "deferred probe"
    ]
    assert told == ["pcspkr waits: the kernel does not say what for"]


def test_the_kernels_own_requests_wait_for_what_is_coming(vm: VM) -> None:
    """A module that another process is still inserting, busybox's modprobe calls loaded; the kernel's helper waits."""
    assert vm.check("cat /proc/sys/kernel/modprobe").strip() == HELPER
    vm.check("modprobe scsi_debug max_luns=60 num_tgts=4 delay=0 dev_size_mb=8 >/dev/null 2>&1 &")
    state = "cat /sys/module/scsi_debug/initstate"
    coming = f'until [ "$({state} 2>/dev/null)" = coming ]; do usleep 1000; done'
    assert vm.check(f"{coming}; {HELPER} -q -- scsi-debug && {state}", timeout=60).strip() == "live"


def test_the_kernels_requests_for_ciphers(vm: VM) -> None:
    """They are answered as by modprobe, though without it where nothing is meant; an alias in modprobe.d counts."""
    known = vm.check("cat /lib/modules/*/modules.crypto")
    # Debian 13's kernel has the first inside
    there = next(
        word for word in ("crypto-crct10dif", "crypto_engine") if f" {word.replace('-', '_')}=" in known
    )
    vm.check("mv /etc/modprobe.d /etc/off; mv /sbin/modprobe /sbin/modprobe.real")
    mine = vm.sh(f"{HELPER} -q -- crypto-mine")
    vm.check("mv /sbin/modprobe.real /sbin/modprobe")
    assert (mine.status, mine.output) == (1, "")
    for word, status in ((there, 0), ("crypto-cryptd(__ecb-aes-aesni)", 1), ("cryptomgr", 1)):
        assert vm.sh(f"modprobe -qD '{word}'").status == status
        assert vm.sh(f"{HELPER} -q -- '{word}'").status == status
    vm.check("mv /etc/off /etc/modprobe.d; echo ' alias crypto-mine dummy' >/etc/modprobe.d/mine.conf")
    assert vm.sh(f"{HELPER} -q -- crypto-mine").status == 0
    vm.check("rm /etc/modprobe.d/mine.conf")


def test_live_and_builtin(vm: VM) -> None:
    """What somebody else has inserted is live, and was seen to come; what the kernel contains is built in."""
    since = len(vm.ledger)
    vm.check("modprobe loop")
    seen = vm.wait_for(lambda r: r["type"] == "module" and r["module"] == "loop", since=since)
    assert seen["action"] == "add"
    for module, outcome in (("loop", "live"), ("8250", "builtin")):
        vm.check(f"modaliasd load {module}")
        load = vm.wait_for(partial(is_load_of, module), since=since)
        assert load["outcome"] == outcome


def test_a_mistyped_setting_is_told_at_the_start(vm: VM) -> None:
    """An unknown word of the command line stops nothing, and one of the ledger's first lines says what was meant."""
    (told,) = [r for r in vm.ledger if r["type"] == "warning" and r["what"] == "command line"]
    assert told["path"] == "kernel command line"
    assert told["message"].startswith("`modaliasd.jbos=2` is ignored")
    assert "`modaliasd.jobs`" in told["message"]
    assert list(vm.ledger).index(told) < 3


def test_quotes_on_the_command_line_are_read_as_by_the_kernel(vm: VM) -> None:
    """What the kernel does not know it gives to init as environment, quotes taken off: the oracle for next_args."""
    environment = vm.check("tr '\\0' '\\n' </proc/1/environ").splitlines()
    theirs = dict(line.split("=", 1) for line in environment if line.startswith("kt_"))
    ours = dict(next_args(vm.check("cat /proc/cmdline")))
    assert len(theirs) == 7
    assert theirs == {name: value for name, value in ours.items() if name.startswith("kt_")}


def test_the_log_is_where_it_was_wanted(vm: VM) -> None:
    """modaliasd.log=ledger keeps the daemon's lines out of the kernel's log."""
    assert "modaliasd:" not in vm.check("dmesg")


def test_the_ledger_is_valid(vm: VM) -> None:
    """Every record keeps to the schema; the settled line counts the failures."""
    assert check_records(list(vm.ledger)) > 100
    assert vm.settled()["failed"] == 3


@pytest.mark.parametrize(
    ("append", "module", "failure", "words"),
    [
        ("lockdown=integrity", "i6300esb", "lockdown", "the kernel is locked down"),
        (
            "sysctl.kernel.modules_disabled=1",
            "virtio_pci",
            "dependency",
            "no more modules until it is booted",
        ),
        ("module.sig_enforce=1", "i6300esb", "signature", "its signature is missing"),
    ],
)
def test_a_kernel_that_permits_it_not(
    debian_kernel: Kernel, tmp_path: Path, append: str, module: str, failure: str, words: str
) -> None:
    """EPERM is told apart by the kernel's own words and by its sysctl; why-not has what fixes it."""
    if module in builtin_names(debian_kernel):
        pytest.skip(f"the kernel {debian_kernel.version} has {module} inside")
    overlay = tmp_path / "overlay"
    target = overlay / "usr/lib/modules" / debian_kernel.version / "kernel/drivers/watchdog/i6300esb.ko"
    target.parent.mkdir(parents=True)
    target.write_bytes(without_signature(plain_module(debian_kernel, "i6300esb")))
    options = ImageOptions(kernel="deb:linux-image-amd64", modules="virtio,i6300esb", overlays=(overlay,))
    built = build_image(tmp_path / "refused.img", options)
    machine = read_machine("virtio").plus([parse_device("i6300esb")])
    with vm_of(built, machine, append=append, limit_s=200) as vm:
        vm.settled(timeout=150)
        load = load_of(vm, module)
        answer = vm.check(f"modaliasd why-not {module}")
    check_records(vm.ledger)
    assert (load["outcome"], load["failure"]) == ("failed", failure)
    assert words in load["message"]
    assert f"fix: {_FIX[failure]}" in answer


_FIX = {
    "lockdown": "sign the module with a key that this kernel knows, or boot without lockdown=",
    "dependency": "find who sets kernel.modules_disabled",
    "signature": "sign the module for this kernel",
}
