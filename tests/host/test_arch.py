"""hostbuild.arch and hostbuild.board: what differs between architectures, and who asks for which."""

import platform
from pathlib import Path

import pytest

from hostbuild import arch as architectures
from hostbuild import debs
from hostbuild.apt import OWN, Lists
from hostbuild.arch import Arch, of_package, of_uname, parse_arch
from hostbuild.board import MachineType, default_type, find_board
from hostbuild.errors import InputError, UsageError, WorldError
from hostbuild.image.build import ImageOptions
from hostbuild.kernels.kernel import KernelError, require_kernel
from hostbuild.qemu.accel import Accel, boot_tiny, choose
from hostbuild.qemu.boot import Boot
from hostbuild.qemu.device import parse_device
from hostbuild.qemu.machine import Machine, machine_argv, parse_machine, read_machine
from hostbuild.run import require_program, run
from hostbuild.ui import Silent
from tests.host.formats.test_image_header import IMAGES


@pytest.mark.parametrize("arch", Arch, ids=str)
def test_names_lead_back(arch: Arch) -> None:
    """An architecture is found by each of its names, and no two share one."""
    facts = arch.facts
    assert parse_arch(arch.value) is parse_arch(facts.uname) is of_uname(facts.uname) is arch
    assert of_package(facts.kernel) is of_package(f"bash:{arch}") is arch
    board = find_board(arch, default_type(arch))
    assert board is not None
    assert board.arch is arch


def test_unknown_names() -> None:
    """A wrong name is told the near one; a package's name says nothing by chance."""
    with pytest.raises(UsageError, match="unknown architecture 'arm46'; did you mean arm64"):
        parse_arch("arm46")
    assert of_package("linux-image-6.1-rt") is None


def test_the_triplets_are_gccs() -> None:
    """This machine's own triplet is the one that its packages use (dpkg-architecture(1))."""
    own = architectures.require_own()
    assert Path(f"/usr/lib/{own.facts.triplet}/libc.so.6").exists()


@pytest.fixture
def on_arm64(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have this machine be an arm64 one."""
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")


def test_foreign_is_what_the_machine_is_not(on_arm64: None) -> None:
    """On an arm64 machine its own packages need no private lists, and amd64's do."""
    assert architectures.own() is Arch.ARM64
    assert [architectures.foreign_name(name) for name in ("amd64", "arm64", "all", "")] == [
        "amd64",
        "",
        "",
        "",
    ]


def test_the_lists_of_an_image(tmp_path: Path) -> None:
    """Programs come from the lists of the kernel's architecture; of this machine's own where that is it."""
    path = tmp_path / "Image"
    path.write_bytes(IMAGES[Arch.RISCV64])
    kernel = require_kernel(str(path), None, Silent())
    assert kernel.arch is Arch.RISCV64
    assert ImageOptions(release="sid").lists(kernel) == Lists("sid", "riscv64")
    assert not OWN.private


def test_a_kernel_of_another_architecture(tmp_path: Path) -> None:
    """--arch and a kernel that is for another are a contradiction, which is said with the way out."""
    path = tmp_path / "Image"
    path.write_bytes(IMAGES[Arch.ARM64])
    with pytest.raises(KernelError, match="is for arm64, not for riscv64") as caught:
        require_kernel(str(path), None, Silent(), arch=Arch.RISCV64)
    assert "--arch arm64" in caught.value.hint


@pytest.mark.parametrize(
    ("spec", "name", "lists"),
    [
        ("deb:linux-image-arm64", "linux-image-arm64", Lists("", "arm64")),
        ("deb:linux-image-riscv64/sid", "linux-image-riscv64", Lists("sid", "riscv64")),
        ("deb:my-kernel:arm64", "my-kernel", Lists("", "arm64")),
        ("deb:my-kernel:amd64", "my-kernel", OWN),
        ("9.9.9-arm64", "linux-image-9.9.9-arm64", Lists("", "arm64")),
    ],
)
def test_a_packages_name_says_its_architecture(
    spec: str, name: str, lists: Lists, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has to say --arch where the kernel's package does."""
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    asked: list[tuple[str, Lists]] = []

    def describe(names: list[str], lists: Lists = OWN, *_more: object) -> list[debs.Package]:
        asked.append((names[0], lists))
        raise InputError("enough")

    monkeypatch.setattr(debs, "describe", describe)
    with pytest.raises(InputError, match="enough"):
        require_kernel(spec, None, Silent())
    assert asked == [(name, lists)]


def test_the_machine_of_all_architectures() -> None:
    """`virtio` is built on each one's own board; its console and lines follow."""
    machine = read_machine("virtio")
    boot = Boot(Path("k"), Path("i"), accel=Accel.TCG)
    words = {arch: boot.command_line(machine.for_arch(arch)) for arch in Arch}
    assert words == {
        Arch.AMD64: "console=ttyS0 panic=-1 clocksource=hpet no_timer_check "
        "modaliasd.channel=/dev/ttyS1 micro.agent=/dev/ttyS2",
        Arch.ARM64: "console=ttyAMA0 panic=-1 modaliasd.channel=/dev/ttyS0 micro.agent=/dev/ttyS1",
        Arch.RISCV64: "console=ttyS0 panic=-1 modaliasd.channel=/dev/ttyS1 micro.agent=/dev/ttyS2",
    }
    programs = [boot.argv(machine.for_arch(arch), Path())[:3] for arch in Arch]
    assert programs == [
        ["qemu-system-x86_64", "-machine", "q35"],
        ["qemu-system-aarch64", "-machine", "virt,gic-version=max"],
        ["qemu-system-riscv64", "-machine", "virt"],
    ]


@pytest.mark.parametrize(
    ("machine", "arch", "said"),
    [
        (
            read_machine("q35"),
            Arch.ARM64,
            "the machine q35 is a q35: QEMU has that for amd64, not for arm64",
        ),
        (read_machine("virt-arm64"), Arch.AMD64, "the machine virt-arm64 is for arm64, the image for amd64"),
        (Machine(type=MachineType.VIRT), Arch.AMD64, "QEMU has that for arm64 and riscv64, not for amd64"),
    ],
    ids=["q35", "virt-arm64", "virt"],
)
def test_a_machine_of_another_architecture(machine: Machine, arch: Arch, said: str) -> None:
    """An image that is given to another architecture's machine is refused before QEMU starts."""
    with pytest.raises(InputError, match=said) as caught:
        machine.for_arch(arch)
    assert "virtio is for all" in caught.value.hint


def test_a_boards_options_give_way() -> None:
    """What a machine file says of the interrupt controller, or of the processor, counts."""
    machine = parse_machine(
        'arch = "arm64"\noptions = ["gic-version=2", "highmem=off"]\ncpu = "cortex-a72"', "mine"
    )
    argv = machine_argv(machine, accel="tcg", memory=64, kernel="", initrd="", append="")
    assert argv[:7] == [
        *("qemu-system-aarch64", "-machine", "virt,gic-version=2,highmem=off", "-accel", "tcg"),
        *("-cpu", "cortex-a72"),
    ]
    argv = machine_argv(Machine(arch=Arch.ARM64), accel="kvm", memory=64, kernel="", initrd="", append="")
    assert argv[argv.index("-cpu") + 1] == "host"


def test_sata_disks_get_a_controller_where_the_board_has_none() -> None:
    """A PC has one on its board, QEMU's virt has not."""
    disk = [parse_device("ide-hd")]
    argv = {
        arch: machine_argv(
            Machine().for_arch(arch).plus(disk), accel="tcg", memory=64, kernel="", initrd="", append=""
        )
        for arch in (Arch.AMD64, Arch.ARM64)
    }
    assert "ich9-ahci" not in argv[Arch.AMD64]
    assert argv[Arch.ARM64].index("ich9-ahci") < argv[Arch.ARM64].index("ide-hd,drive=backend1")


def test_kvm_is_for_this_machines_own() -> None:
    """Another architecture's guest is emulated, whatever KVM could do; demanded, it is an error that says so."""
    foreign = next(arch for arch in Arch if architectures.is_foreign(arch))
    assert choose("auto", foreign).accel is Accel.TCG
    with pytest.raises(WorldError, match=f"KVM runs no {foreign} guests on this machine"):
        choose("kvm", foreign)


def test_the_tiny_kernel_of_arm64_ends_a_machine() -> None:
    """The four instructions that KVM is tried with on an arm64 host switch the machine off."""
    require_program("qemu-system-aarch64")
    boot_tiny(Accel.TCG, 60.0, Arch.ARM64)


@pytest.mark.parametrize("arch", Arch, ids=str)
def test_a_missing_qemu_is_said_with_its_package(arch: Arch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever boots another architecture's image for the first time is told what to install."""
    monkeypatch.setattr("shutil.which", lambda *_args, **_more: None)
    with pytest.raises(WorldError, match=f"the program {arch.facts.qemu} is not installed") as caught:
        require_program(arch.facts.qemu)
    assert caught.value.hint.endswith(f"install --no-install-recommends {arch.facts.qemu_package}")


def test_e_machine_is_elfs() -> None:
    """This machine's e_machine stands in the header of its programs."""
    own = architectures.require_own()
    assert int.from_bytes(Path("/bin/sh").read_bytes()[18:20], "little") == own.facts.elf
    assert run(["uname", "-m"], timeout=10).stdout.decode().strip() == own.facts.uname
