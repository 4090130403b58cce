"""One configuration, both modprobes: kmod's and busybox's load the same, with the same options, in a guest.

Two boots of a machine with a few devices, whose images differ in their modprobe only: /etc/modprobe.d, /run/modprobe.d
and /usr/lib/modprobe.d with every word that modprobe.d has, the kernel's command line with what counts there, and the
daemon's own words. A third boot is told to load nothing.
"""

from dataclasses import dataclass
from pathlib import Path

import pytest

from hostbuild.image.build import ImageOptions, Modprobe, build_image
from hostbuild.kernels.kernel import Kernel
from hostbuild.ledger.stream import Record
from hostbuild.qemu.device import parse_device
from hostbuild.qemu.machine import read_machine
from tests.support.boots import vm_of

pytestmark = pytest.mark.vm

TURNS = ("turn_one", "turn_two", "turn_three", "turn_four", "turn_five")
# By their paths in the image; /init mounts /run, and busybox init fills it before it starts the daemon.
FILES = {
    "etc/modprobe.d/both.conf": """\
blacklist pcspkr
alias pci:v00008086d000025ABsv*sd*bc*sc*i* brd
options brd rd_nr=2
softdep brd pre: no-such crc8 post: crc-itu-t
softdep crc16 pre: crc7
alias my-null null_blk
options my-null bs=4096
options null_blk nr_devices=1 \\
    gb=1
alias virtio:d00000003v* off
install crc7 echo "$MODPROBE_MODULE instead, $CMDLINE_OPTS" >>/run/commands
options crc7 a=1 b="2 3"
remove e1000 echo "$MODPROBE_MODULE goes" >>/run/commands; rmmod e1000
""",
    "etc/modprobe.d/10-order.conf": "options nbd nbds_max=3\n",
    "usr/lib/modprobe.d/10-order.conf": "options nbd nbds_max=9\nblacklist loop\n",
    "etc/run.d/20-run.conf": "options loop max_loop=5\n",
    "usr/lib/modprobe.d/20-run.conf": "options loop max_loop=7\n",
    "usr/lib/modprobe.d/30-lib.conf": "options loop hw_queue_depth=32\n",
    "usr/lib/modprobe.d/30-lib.txt": "options loop max_part=9\n",
    "etc/modprobe.d/turns.conf": "".join(f"install {turn} /usr/lib/test/turn {turn}\n" for turn in TURNS),
    "etc/modaliasd/policy.toml": 'unload = ["pci"]\n',
    "etc/inittab": """\
::sysinit:/bin/cp -r /etc/run.d /run/modprobe.d
::respawn:/usr/bin/modaliasd run
::once:/usr/lib/micro/agent
""",
    "usr/lib/test/turn": '#!/bin/sh\necho "+$1" >>/run/turns; sleep 0.5; echo "-$1" >>/run/turns\n',
}
COMMAND_LINE = (
    "quiet modprobe.blacklist=virtio_balloon module_blacklist=virtio_rng,nothing "
    "brd.rd_size=2048 nbd.max_part=7 brd.max_part=4 "
    f"modaliasd.load=nbd,loop,my-null modaliasd.load=crc16,{','.join(TURNS)} "
    "modaliasd.jobs=2 modaliasd.sequential=turn-three"
)
# Whatever inserts them, these are to be the values in /sys/module/MODULE/parameters.
PARAMETERS = {
    "brd": {"rd_nr": "2", "rd_size": "2048", "max_part": "4"},
    "nbd": {"nbds_max": "3", "max_part": "7"},
    "loop": {"max_loop": "5", "hw_queue_depth": "32", "max_part": "0"},
    "null_blk": {"nr_devices": "1", "gb": "1", "bs": "4096"},
}
SELECTION = "virtio,e1000,i6300esb,pcspkr,brd,nbd,loop,null_blk,crc7,crc8,crc16,crc-itu-t"


@dataclass(frozen=True, slots=True)
class Seen:
    """What one boot came to."""

    modules: tuple[str, ...]
    parameters: str
    commands: tuple[str, ...]
    turns: tuple[str, ...]
    ledger: tuple[Record, ...]

    def outcomes(self) -> set[tuple[str, str, str, str]]:
        """(module, outcome, message, first cause) of every load."""
        return {
            (r["module"], r["outcome"], r.get("message", ""), repr(sorted(r["causes"][0].items())))
            for r in self.ledger
            if r["type"] == "load"
        }

    def load_of(self, module: str) -> Record:
        """The first record of the module's load."""
        return next(r for r in self.ledger if r["type"] == "load" and r["module"] == module)


def make_overlay(directory: Path) -> Path:
    """Write the configuration."""
    for name, text in FILES.items():
        file = directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    (directory / "usr/lib/test/turn").chmod(0o755)
    return directory


def boot(directory: Path, modprobe: Modprobe) -> Seen:
    """Build the image and look at what it does."""
    options = ImageOptions(
        kernel="deb:linux-image-amd64",
        modules=SELECTION,
        overlays=(make_overlay(directory / "overlay"),),
        modprobe=modprobe,
    )
    built = build_image(directory / f"{modprobe.value}.img", options)
    machine = read_machine("virtio").plus(map(parse_device, ["e1000", "i6300esb"]))
    with vm_of(built, machine, append=COMMAND_LINE, limit_s=300) as vm:
        vm.settled(timeout=200)
        modules = vm.check("cut -d' ' -f1 /proc/modules | sort").split()
        # fuse reckons its limits from the memory that is free
        parameters = vm.check("cd /sys/module; grep -r . */parameters | grep -v ^fuse | sort; true")
        vm.check("echo 1 >$(readlink -f /sys/bus/pci/drivers/e1000/0000:*)/remove")
        vm.wait_for("unload")
        return Seen(
            tuple(modules),
            parameters,
            tuple(" ".join(line.split()) for line in vm.check("cat /run/commands").splitlines()),
            tuple(vm.check("cat /run/turns").split()),
            tuple(vm.ledger),
        )


@pytest.fixture(scope="module")
def seen(debian_kernel: Kernel, tmp_path_factory: pytest.TempPathFactory) -> dict[Modprobe, Seen]:
    """What both boots came to."""
    assert debian_kernel
    return {modprobe: boot(tmp_path_factory.mktemp("both"), modprobe) for modprobe in Modprobe}


def test_the_same_modules(seen: dict[Modprobe, Seen]) -> None:
    """The same modules are live: all that was wanted, with softdeps, and none that is denied or stands aside."""
    modules = seen[Modprobe.KMOD].modules
    assert modules == seen[Modprobe.BUSYBOX].modules
    wanted = {
        "brd",
        "crc8",
        "crc_itu_t",
        "crc16",
        "nbd",
        "loop",
        "null_blk",
        "e1000",
        "virtio_blk",
        "virtio_net",
    }
    assert wanted <= set(modules)
    assert not {"pcspkr", "i6300esb", "virtio_balloon", "virtio_rng", "virtio_console", "crc7"} & set(modules)


def test_the_same_parameters(seen: dict[Modprobe, Seen]) -> None:
    """Options come together from all directories and the kernel's command line, and a file hides its namesakes."""
    assert seen[Modprobe.KMOD].parameters == seen[Modprobe.BUSYBOX].parameters
    found = dict(line.split(":", 1) for line in seen[Modprobe.BUSYBOX].parameters.splitlines())
    for module, parameters in PARAMETERS.items():
        assert {name: found[f"{module}/parameters/{name}"] for name in parameters} == parameters


def test_the_same_outcomes(seen: dict[Modprobe, Seen]) -> None:
    """The ledgers have the same loads, with the same outcomes, messages and causes."""
    assert seen[Modprobe.KMOD].outcomes() == seen[Modprobe.BUSYBOX].outcomes()


@pytest.mark.parametrize("modprobe", Modprobe, ids=lambda modprobe: modprobe.value)
def test_the_outcomes(seen: dict[Modprobe, Seen], modprobe: Modprobe) -> None:
    """Denials name their lines; the ledger says which modprobe it was, and who asked for the softdeps."""
    outcomes = {
        (r["module"], r["outcome"], r.get("message", ""))
        for r in seen[modprobe].ledger
        if r["type"] == "load"
    }
    assert {
        ("pcspkr", "denied", "blacklist: /etc/modprobe.d/both.conf:1"),
        ("off", "denied", "alias to off: /etc/modprobe.d/both.conf:10"),
        ("virtio_balloon", "denied", "blacklist: kernel command line"),
        ("virtio_rng", "denied", "module_blacklist: kernel command line"),
    } <= outcomes
    assert {outcome for _, outcome, _ in outcomes} == {"inserted", "denied", "command"}
    assert seen[modprobe].ledger[0]["modprobe"] == modprobe.value
    assert seen[modprobe].load_of("crc8")["causes"] == [{"softdep": "brd"}]
    conf = "/etc/modprobe.d/both.conf"
    cause = seen[modprobe].load_of("brd")["causes"][0]
    assert cause["modalias"].startswith("pci:v00008086d000025AB")
    assert (cause["line"], cause["file"]) == (2, conf)
    asked = {"request": "modaliasd.load=", "alias": "my_null", "line": 6, "file": conf}
    assert seen[modprobe].load_of("null_blk")["causes"] == [asked]


def test_the_same_commands(seen: dict[Modprobe, Seen]) -> None:
    """Install and remove lines run once each, with the module's name and its options."""
    assert seen[Modprobe.KMOD].commands == seen[Modprobe.BUSYBOX].commands
    assert seen[Modprobe.BUSYBOX].commands == ("crc7 instead, a=1 b=2 3", "e1000 goes")
    for one in seen.values():
        unloads = [(r["module"], r["outcome"]) for r in one.ledger if r["type"] == "unload"]
        assert unloads == [("e1000", "removed")]


@pytest.mark.parametrize("modprobe", Modprobe, ids=lambda modprobe: modprobe.value)
def test_two_jobs_and_one_alone(seen: dict[Modprobe, Seen], modprobe: Modprobe) -> None:
    """With modaliasd.jobs=2 two commands run at once and no more; a module of modaliasd.sequential= runs alone."""
    running: set[str] = set()
    most = 0
    for turn in seen[modprobe].turns:
        name = turn[1:]
        running = running | {name} if turn[0] == "+" else running - {name}
        most = max(most, len(running))
        assert "turn_three" not in running or len(running) == 1
    assert most == 2
    assert {turn[1:] for turn in seen[modprobe].turns} == set(TURNS)
    alone = seen[modprobe].load_of("turn_three")
    loads = [r for r in seen[modprobe].ledger if r["type"] == "load" and "start_us" in r]
    beside = [r for r in loads if r["start_us"] < alone["end_us"] and r["end_us"] > alone["start_us"]]
    assert [r["module"] for r in beside] == ["turn_three"]


def test_off(debian_kernel: Kernel, tmp_path: Path) -> None:
    """With modaliasd.off nothing is loaded and nothing written, the daemon stays; a coldplug by hand still works."""
    assert debian_kernel
    options = ImageOptions(kernel="deb:linux-image-amd64", modules="virtio")
    built = build_image(tmp_path / "off.img", options)
    append = "quiet modaliasd.off"
    with vm_of(built, read_machine("virtio"), append=append, limit_s=240) as vm:
        daemon = vm.check("until pidof modaliasd; do usleep 100000; done", timeout=100)
        assert vm.check("cat /proc/modules") == ""
        assert vm.sh("modaliasd coldplug --once", timeout=100).status == 0
        assert "virtio_blk" in vm.check("cat /proc/modules")
        assert vm.check("pidof modaliasd") == daemon
        assert vm.ledger[0]["type"] == "start"
