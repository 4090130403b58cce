"""hostbuild.qemu.accel: KVM is believed when it has run something, and not before."""

from pathlib import Path

import pytest

from hostbuild.errors import CommandError, WorldError
from hostbuild.qemu import accel
from hostbuild.qemu.accel import Accel, boot_tiny, choose, kvm_trouble


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
    monkeypatch.setattr(accel, "boot_tiny", lambda kind, limit: runs.append((kind, limit)))
    device = tmp_path / "kvm"
    device.touch()
    assert kvm_trouble(device, 1.5) == ""
    assert kvm_trouble(device, 1.5) == ""
    assert runs == [(Accel.KVM, 1.5)]
