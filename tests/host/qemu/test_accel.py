"""hostbuild.qemu.accel: KVM is believed when it has run something, and not before."""

from pathlib import Path

import pytest

from hostbuild.arch import Arch
from hostbuild.errors import CommandError, WorldError
from hostbuild.qemu import accel
from hostbuild.qemu.accel import Accel, boot_tiny, choose, kvm_trouble, qemu_version, why_in_turns


def test_the_boot_sector_ends_a_machine() -> None:
    """The seven bytes do what the probe relies on: under emulation, which always works, they end it."""
    boot_tiny(Accel.TCG, 60.0)


def test_a_machine_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """A boot sector that never leaves runs into the time limit; the error says so by having no status."""
    monkeypatch.setattr(accel, "BOOT_SECTOR", b"\xeb\xfe".ljust(510, b"\0") + b"\x55\xaa")  # jmp to itself
    with pytest.raises(CommandError) as caught:
        boot_tiny(Accel.TCG, 0.5)
    assert caught.value.status is None


def test_an_absent_device_is_said(tmp_path: Path) -> None:
    """Where /dev/kvm is absent nothing is started, and the reason names it."""
    assert "is absent" in kvm_trouble(tmp_path / "kvm")


def test_auto_falls_back_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """With an unusable KVM, auto takes TCG and keeps the reason; kvm is an error with the same reason."""
    monkeypatch.setattr(accel, "kvm_trouble", lambda: "it hangs")
    assert choose("auto") == accel.Choice(Accel.TCG, "it hangs")
    with pytest.raises(WorldError, match="it hangs"):
        choose("kvm")


def test_auto_takes_a_kvm_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a KVM that runs the probe, auto and kvm take it; tcg does not even ask."""
    monkeypatch.setattr(accel, "kvm_trouble", lambda: "")
    assert choose("auto").accel is Accel.KVM
    assert choose("kvm").accel is Accel.KVM
    assert choose("tcg").accel is Accel.TCG


def test_the_probe_runs_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The answer is kept for the process."""
    runs = []

    def boot(kind: Accel, limit_s: float) -> float:
        runs.append((kind, limit_s))
        return 0.1

    monkeypatch.setattr(accel, "boot_tiny", boot)
    device = tmp_path / "kvm"
    device.touch()
    assert kvm_trouble(device, 1.5) == ""
    assert kvm_trouble(device, 1.5) == ""
    assert runs == [(Accel.KVM, 1.5)]


@pytest.mark.parametrize(
    ("kvm", "tcg", "words"),
    [
        (1.4, 0.06, "takes 1.4 s in it, and 0.06 s under emulation"),
        (1.4, 0.9, ""),  # a busy machine
        (1.4, None, ""),  # emulation is not there, or needs longer
        (0.4, 0.05, ""),  # quick enough
    ],
)
def test_a_kvm_that_is_slower_than_emulation(
    kvm: float, tcg: float | None, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A nested KVM that runs the probe in its time, and yet would take minutes for a boot, is not taken."""

    def boot(kind: Accel, _limit_s: float) -> float:
        if kind is Accel.KVM:
            return kvm
        if tcg is None:
            raise CommandError("not in time", argv=("qemu",), status=None, stderr="")
        return tcg

    monkeypatch.setattr(accel, "boot_tiny", boot)
    device = tmp_path / "kvm"
    device.touch()
    trouble = kvm_trouble(device)
    assert words in trouble
    assert bool(trouble) == bool(words)


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)\nCopyright (c)", (7, 2, 22)),
        ("QEMU emulator version 10.0.2", (10, 0, 2)),
        ("QEMU emulator version 8.1", (8, 1)),
        ("some other program 7.2", None),
        ("QEMU emulator version unknown", None),
        ("", None),
    ],
)
def test_a_version_of_qemus(said: str, version: tuple[int, ...] | None, tmp_path: Path) -> None:
    """It is read from the first words of --version; what is none is not known."""
    program = tmp_path / "qemu"
    program.write_text(f"#!/bin/sh\ncat <<'.'\n{said}\n.\n")
    program.chmod(0o755)
    assert qemu_version(str(program)) == version


def test_a_version_of_a_program_that_fails(tmp_path: Path) -> None:
    """One that is not there, or ends with an error, has no version that is known."""
    assert qemu_version(str(tmp_path / "absent")) is None
    assert qemu_version("/bin/false") is None


@pytest.mark.parametrize(
    ("version", "arch", "cpus", "turns"),
    [
        ((7, 2, 22), Arch.AMD64, 4, True),
        ((8, 0, 4), Arch.AMD64, 2, True),
        ((8, 1), Arch.AMD64, 4, False),
        ((10, 0, 2), Arch.AMD64, 4, False),
        ((7, 2, 22), Arch.AMD64, 1, False),
        ((7, 2, 22), Arch.ARM64, 4, False),
        (None, Arch.AMD64, 4, False),
    ],
)
def test_cpus_that_are_emulated_in_turns(
    version: tuple[int, ...] | None, arch: Arch, cpus: int, turns: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several CPUs of x86, by a QEMU before 8.1: at once, they lose the breakpoints of a kernel that patches itself."""
    monkeypatch.setattr(accel, "qemu_version", lambda _program: version)
    assert bool(why_in_turns(arch, cpus)) is turns
