"""hostbuild.qemu.session: one image, one kernel that it has modules for, memory and words; or no boot at all."""

import hashlib
import json
import struct
from pathlib import Path, PurePath

import pytest

from hostbuild.arch import Arch
from hostbuild.board import MachineType
from hostbuild.errors import InputError, UsageError
from hostbuild.formats.initramfs.newc import Member, Writer
from hostbuild.formats.manifest import FORMAT, kernel_path, manifest_path
from hostbuild.main import status_of
from hostbuild.qemu import accel, session
from hostbuild.qemu.accel import Accel, Choice
from hostbuild.qemu.machine import Machine
from hostbuild.qemu.session import prepare

OURS = "6.1.0-1-amd64"
DIRECTORY, FILE = 0o40755, 0o100644


def write_kernel(path: Path, version: str) -> Path:
    """Write the beginning of a bzImage: the boot header, and the version that it points to."""
    data = bytearray(4096)
    data[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", data, 0x20E, 0x400)
    text = f"{version} (somebody@somewhere) #1\0".encode()
    data[0x600 : 0x600 + len(text)] = text
    path.write_bytes(data)
    return path


def write_image(path: Path, names: dict[str, int], *, parents: bool = True) -> Path:
    """Write an image of these members, path -> mode; without the directories above them a kernel makes none of them."""
    above = (
        {str(one): DIRECTORY for name in names for one in reversed(PurePath(name).parents)} if parents else {}
    )
    above.pop(".", None)
    with path.open("wb") as out:
        archive = Writer(out.write)
        for number, (name, mode) in enumerate((above | names).items(), 1):
            archive.add(Member(name, mode, ino=number))
        archive.close()
    return path


def pair(image: Path, kernel: Path) -> Path:
    """Prepare a boot of the image with this kernel; returns the kernel."""
    return prepare(image, Machine(), kernel=str(kernel), accel="tcg").boot.kernel


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """An image for OURS without a manifest."""
    return write_image(tmp_path / "x.img", {f"usr/lib/modules/{OURS}": DIRECTORY, "init": FILE})


def test_the_kernel_of_the_modules_is_taken(image: Path, tmp_path: Path) -> None:
    """The kernel whose version the image has modules for boots it."""
    kernel = write_kernel(tmp_path / "vmlinuz", OURS)
    assert pair(image, kernel) == kernel


def test_another_kernel_is_refused_without_a_manifest(image: Path, tmp_path: Path) -> None:
    """Another version is refused by what lies in the image itself, and the message has both and the fix."""
    kernel = write_kernel(tmp_path / "vmlinuz", "6.1.0-1-cloud-amd64")
    with pytest.raises(InputError, match=f"is 6.1.0-1-cloud-amd64, but .* are for {OURS}") as caught:
        pair(image, kernel)
    assert caught.value.exit_status == 100
    assert f"hostbuild make-image --kernel {kernel} -o {image}" in caught.value.hint
    assert "leave --kernel out" not in caught.value.hint, "nothing else names a kernel"


@pytest.mark.parametrize("stale", [False, True])
def test_the_manifest_counts_while_it_is_the_images_own(image: Path, tmp_path: Path, stale: bool) -> None:
    """A manifest saves reading the image; one of another image, by its size, is not believed."""
    manifest = {
        "format": FORMAT,
        "image": {"size": image.stat().st_size + stale},
        "kernel": {"version": "5.0-other", "vmlinuz": "/nowhere", "sha256": "", "origin": "/nowhere"},
        "append": "",
        "groups": {},
        "modules": [],
        "files": [],
    }
    manifest_path(image).write_text(json.dumps(manifest), encoding="ascii")
    ours, other = (write_kernel(tmp_path / version, version) for version in (OURS, "5.0-other"))
    right, wrong = (ours, other) if stale else (other, ours)
    assert pair(image, right) == right
    with pytest.raises(InputError, match="none of them could be loaded") as caught:
        pair(image, wrong)
    assert "leave --kernel out" in caught.value.hint


def test_modules_in_a_squashfs(tmp_path: Path) -> None:
    """Modules that lie in a file system of their own are those of its name."""
    names = {f"usr/lib/modules/{OURS}.squashfs": FILE}
    image = write_image(tmp_path / "s.img", names)
    assert pair(image, write_kernel(tmp_path / "right", OURS))
    with pytest.raises(InputError, match=f"are for {OURS}: none"):
        pair(image, write_kernel(tmp_path / "wrong", "1.2.3"))


def test_several_kernels_in_one_image(tmp_path: Path) -> None:
    """An image for several kernels is booted by each of them."""
    image = write_image(tmp_path / "m.img", {f"lib/modules/{one}": DIRECTORY for one in ("1.0", "2.0")})
    for version in ("1.0", "2.0"):
        assert pair(image, write_kernel(tmp_path / version, version))
    with pytest.raises(InputError, match=r"are for 1\.0, 2\.0"):
        pair(image, write_kernel(tmp_path / "3.0", "3.0"))


def test_modules_that_no_kernel_unpacks_do_not_count(tmp_path: Path) -> None:
    """A member whose directory is not there comes to nothing, so it speaks for no kernel."""
    image = write_image(tmp_path / "n.img", {"lib/modules/1.0": DIRECTORY, "init": FILE}, parents=False)
    assert pair(image, write_kernel(tmp_path / "other", "2.0"))


def test_an_image_without_modules_goes_with_any_kernel(tmp_path: Path) -> None:
    """Where there is nothing to load, nothing can be refused."""
    image = write_image(tmp_path / "none.img", {"init": FILE})
    assert pair(image, write_kernel(tmp_path / "any", "9.9"))


@pytest.mark.parametrize("command", [["run"], ["ram"]])
def test_no_machine_is_started(
    command: list[str], image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The commands that boot refuse it with status 100, before any QEMU."""
    kernel = write_kernel(tmp_path / "vmlinuz", "1.2.3")
    assert status_of([*command, str(image), "--kernel", str(kernel)]) == 100
    said = capsys.readouterr().err
    assert "is 1.2.3, but the modules in" in said
    assert "hint: make the image for this kernel" in said


@pytest.fixture
def kernel(tmp_path: Path) -> str:
    """The kernel for OURS."""
    return str(write_kernel(tmp_path / "vmlinuz", OURS))


def test_the_command_line_is_the_contract_the_images_words_and_the_callers(image: Path, kernel: str) -> None:
    """Console and clock first, then the channel; what the manifest has, what the caller says; poweroff last."""
    manifest = {
        "format": FORMAT,
        "image": {"size": image.stat().st_size},
        "kernel": {"version": OURS, "vmlinuz": kernel, "sha256": "", "origin": ""},
        "append": "from.manifest=1",
        "groups": {},
        "modules": [],
        "files": [],
    }
    manifest_path(image).write_text(json.dumps(manifest), encoding="ascii")
    made = prepare(image, Machine(), kernel=kernel, append="quiet", accel="tcg", poweroff=True)
    assert made.boot.command_line(made.machine).split() == [
        "console=ttyS0",
        "panic=-1",
        "clocksource=hpet",
        "no_timer_check",
        "modaliasd.channel=/dev/ttyS1",
        "from.manifest=1",
        "quiet",
        "modaliasd.poweroff=settled",
    ]


def write_manifest(image: Path, kernel: str, **more: object) -> None:
    """Write a manifest of the image, with a kernel of a package that lies beside it."""
    data = Path(kernel).read_bytes()
    kernel_path(image).write_bytes(data)
    package = {
        "name": "linux-image",
        "version": "1",
        "architecture": "amd64",
        "sha256": "0",
        "path": "boot/x",
    }
    row = {"version": OURS, "sha256": hashlib.sha256(data).hexdigest(), "origin": "linux-image 1"}
    manifest = {
        "format": FORMAT,
        "image": {"size": image.stat().st_size},
        "kernel": row | {"package": package},
        "append": "",
        "groups": {},
        "modules": [],
        "files": [],
    }
    manifest_path(image).write_text(json.dumps(manifest | more), encoding="ascii")


@pytest.mark.parametrize(
    ("module", "spec", "word"),
    [
        ({}, False, "cryptomgr.notests "),
        ({"origin": "overlay mine"}, False, ""),
        ({}, True, ""),
    ],
)
def test_a_packages_kernel_does_not_test_its_ciphers(
    module: dict[str, str], spec: bool, word: str, image: Path, kernel: str
) -> None:
    """Where the kernel is named, or a module is somebody's own, it does; the caller's words come behind."""
    write_manifest(image, kernel, modules=[{"name": "a", "path": "a.ko", "size": 1} | module])
    made = prepare(image, Machine(), kernel=kernel if spec else None, append="quiet", accel="tcg")
    assert made.boot.append == f"{word}quiet"


@pytest.mark.parametrize(
    ("machine", "append", "accel", "why"),
    [
        (Machine(), "", Accel.TCG, ""),
        (Machine(), "quiet vga=791", Accel.TCG, "vga is for the packed kernel's own code"),
        (Machine(raw=(("-drive", "if=pflash,file=ovmf.fd"),)), "", Accel.TCG, "firmware of its own"),
        (Machine(), "", Accel.KVM, "with KVM that takes no time"),
    ],
)
def test_an_unpacked_kernel_is_entered_where_it_is_wanted_and_can_be(
    machine: Machine,
    append: str,
    accel: Accel,
    why: str,
    image: Path,
    kernel: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """--pvh; what needs the packed one is told, and so is a kernel that cannot be entered so."""
    unpacked = tmp_path / "vmlinux"
    monkeypatch.setattr(session, "choose", lambda *_: Choice(accel, ""))
    monkeypatch.setattr(session, "unpacked_kernel", lambda _: unpacked)
    made = prepare(image, machine, kernel=kernel, append=append, accel="tcg", pvh=True)
    assert made.boot.kernel == (Path(kernel) if why else unpacked)
    assert any(why in note for note in made.notes) if why else not made.notes
    assert prepare(image, machine, kernel=kernel, append=append, accel="tcg").boot.kernel == Path(kernel)
    monkeypatch.setattr(session, "unpacked_kernel", lambda _: None)
    made = prepare(image, machine, kernel=kernel, append=append, accel="tcg", pvh=True)
    assert made.boot.kernel == Path(kernel)
    assert "--pvh" in made.notes[-1]


def test_a_device_tree_of_ones_own(image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--dtb: QEMU gets it on a board that has one; a PC, and a file that is none, are refused."""
    kernel = str(write_kernel(tmp_path / "vmlinuz", OURS))
    tree = tmp_path / "board.dtb"
    empty = struct.pack(">4I", 1, 0, 2, 9)  # FDT_BEGIN_NODE, "", FDT_END_NODE, FDT_END
    header = struct.pack(">10I", 0xD00DFEED, 72, 56, 72, 40, 17, 16, 0, 0, 16)
    tree.write_bytes(header + bytes(16) + empty)
    with pytest.raises(UsageError, match="is a PC, which has no device tree"):
        prepare(image, Machine(), kernel=kernel, accel="tcg", dtb=tree)
    monkeypatch.setattr(session, "read_arch", lambda _: Arch.ARM64)
    made = prepare(image, Machine(), kernel=kernel, accel="tcg", dtb=tree)
    argv = made.boot.argv(made.machine, tmp_path)
    assert argv[argv.index("-dtb") + 1] == str(tree)
    tree.write_bytes(header)
    with pytest.raises(InputError, match="cut short"):
        prepare(image, Machine(), kernel=kernel, accel="tcg", dtb=tree)
    with pytest.raises(InputError, match="not a device tree"):
        prepare(image, Machine(), kernel=kernel, accel="tcg", dtb=image)


@pytest.mark.parametrize("words", ["", "lockdown=none", "lockdown=integrity", "module.sig_enforce=1"])
def test_words_that_keep_stripped_modules_out_are_told(words: str, image: Path, kernel: str) -> None:
    """An image made with --strip has no signatures; nothing is said of one that has them."""
    for more, told in (({}, False), ({"stripped": {"modules": 1, "bytes": 9, "taints": True}}, True)):
        write_manifest(image, kernel, **more)
        notes = prepare(image, Machine(), append=words, accel="tcg").notes
        refusing = words not in ("", "lockdown=none")
        assert any(words in note and "--strip" in note for note in notes) is (told and refusing), notes


def test_a_machine_with_one_serial_line_has_no_channel(image: Path, kernel: str) -> None:
    """A microvm is told of no serial line that it has not; with icount the clock needs no help."""
    machine = Machine(type=MachineType.MICROVM)
    made = prepare(image, machine, kernel=kernel, accel="tcg", agent=True, icount=True)
    assert made.boot.command_line(made.machine) == "console=ttyS0 panic=-1"


def test_memory_is_the_callers_then_the_machines_then_reckoned(image: Path, kernel: str) -> None:
    """Whoever says it, QEMU is given it once, and the machine's file does not override the caller."""
    machine = Machine(memory=700)

    def memory(machine: Machine, said: str | None) -> str:
        argv = prepare(image, machine, kernel=kernel, accel="tcg", memory=said).argv()
        return argv[argv.index("-m") + 1]

    reckoned = str(prepare(image, machine, kernel=kernel, accel="tcg").estimate.comfortable)
    assert memory(machine, None) == "700"
    assert memory(machine, "1G") == "1024"
    assert memory(machine, "auto") == reckoned
    assert memory(Machine(), None) == reckoned


def test_too_little_memory_is_refused_whoever_says_it(image: Path, kernel: str) -> None:
    """The caller's 32 MiB, and the machine file's."""
    for machine, said in ((Machine(), "32"), (Machine(memory=32), None)):
        with pytest.raises(UsageError, match="32 MiB is too little for this image") as caught:
            prepare(image, machine, kernel=kernel, accel="tcg", memory=said)
        assert "--memory auto" in caught.value.hint


def test_the_accelerators_choice_is_told_where_nobody_made_it(
    image: Path, kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Emulation is a note if it was found out, and none if it was asked for; KVM and icount exclude each other."""
    monkeypatch.setattr(session, "choose", lambda *_wanted: Choice(Accel.TCG, "no /dev/kvm"))
    assert prepare(image, Machine(), kernel=kernel).notes == ("no KVM, so QEMU emulates: no /dev/kvm",)
    assert prepare(image, Machine(), kernel=kernel, accel="tcg").notes == ()
    monkeypatch.setattr(session, "choose", lambda *_wanted: Choice(Accel.KVM, "KVM works"))
    made = prepare(image, Machine(), kernel=kernel)
    assert made.notes == ()
    assert "clocksource=hpet" not in made.boot.command_line(made.machine)
    with pytest.raises(UsageError, match="--icount counts instructions"):
        prepare(image, Machine(), kernel=kernel, icount=True)


@pytest.mark.parametrize(
    ("cpus", "icount", "version", "word"),
    [
        (2, False, (7, 2, 22), "tcg,thread=single"),
        (1, False, (7, 2, 22), "tcg"),
        (2, True, (7, 2, 22), "tcg"),
        (2, False, (8, 1, 0), "tcg"),
    ],
)
def test_several_cpus_by_an_old_qemu(
    cpus: int, icount: bool, version: tuple[int, ...], word: str, image: Path, kernel: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """They are emulated in turns, which is said; with counted instructions QEMU does so anyway."""
    monkeypatch.setattr(accel, "qemu_version", lambda _program: version)
    made = prepare(image, Machine(cpus=cpus), kernel=kernel, accel="tcg", icount=icount)
    argv = made.boot.argv(made.machine, Path())
    assert argv[argv.index("-accel") + 1] == word
    assert any("in turns" in note for note in made.notes) is word.endswith("single")
