"""The command `hostbuild check`: statuses, words and JSON, on images without a kernel; and images of other tools."""

import gzip
import json
import stat
from pathlib import Path

import pytest

from hostbuild import main
from hostbuild.formats.modules.signed_only import why_signed_only
from tests.support.breakage import Part, Parts, write_parts
from tests.support.programs import require_program


def foreign() -> Parts:
    """An image as another tool makes it: busybox, a script, and things that only hostbuild's must not have."""
    parts = Parts()
    parts.put("bin/busybox", Path(require_program("busybox")).read_bytes(), 0o755)
    parts["bin/sh"] = Part(stat.S_IFLNK | 0o777, b"busybox")
    parts["bin/vi"] = Part(stat.S_IFLNK | 0o777, b"/usr/bin/vim")
    parts.put("init", b"#!/bin/sh\nexec sh\n", 0o755)
    parts.put("usr/bin/report", b"#!/usr/bin/perl\n", 0o755)
    parts.put("usr/lib/modules/6.1.0-x/modules.softdep", b"nonsense\n")
    parts.put("etc/modprobe.d/x.conf", b"nonsense\n")
    return parts


def test_an_image_of_another_tool(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What may be meant there is a note, and no reason for status 1; that no kernel was looked at is said."""
    path = write_parts(tmp_path / "foreign.img", foreign())
    assert main.status_of(["check", str(path), "--json"]) in (0, 1)
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert "no manifest; --kernel names it" in err
    assert told["kernel_known"] is False
    levels = {(one["id"], one["level"]) for one in told["findings"]}
    assert {("interpreter-missing", "note"), ("modprobe-d", "note"), ("mount-point", "note")} <= levels
    assert {one["id"] for one in told["findings"] if one["level"] != "note"} == {"index-missing"}


def test_statuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """0 for notes alone, 1 for a finding, 100 for what is no image or a wrong size."""
    parts = foreign()
    parts.remove("modules.softdep")
    path = write_parts(tmp_path / "good.img", parts)
    assert main.status_of(["check", str(path)]) == 0
    assert "notes" in capsys.readouterr().out
    assert main.status_of(["check", str(path), "--max-size", "100K"]) == 1
    out = capsys.readouterr().out
    assert out.startswith("error: image: ")
    assert "\n    fix: " in out
    assert main.status_of(["check", str(path), "--max-size", "much"]) == 100
    assert main.status_of(["check", str(path), "--memory", "256"]) == 100  # of which kernel?
    (tmp_path / "text").write_text("hello\n")
    assert main.status_of(["check", str(tmp_path / "text")]) == 100
    del parts["init"]
    assert main.status_of(["check", str(write_parts(tmp_path / "bad.img", parts))]) == 1


def test_a_damaged_image_is_a_finding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is the image that is judged, so it is status 1, with the reason; nothing else of it is believed."""
    path = write_parts(tmp_path / "good.img", foreign())
    path.write_bytes(gzip.compress(path.read_bytes())[:-5000])
    assert main.status_of(["check", str(path)]) == 1
    assert "[image-damaged]" in capsys.readouterr().out


_SIG = {"MODULE_SIG": "y"}


@pytest.mark.parametrize(
    ("append", "config", "why"),
    [
        ("", None, ""),
        ("module.sig_enforce", None, "module.sig_enforce on the command line"),
        ("module.sig-enforce=1 module.sig_enforce=0", _SIG, "module.sig-enforce=1 on the command line"),
        ("module.sig_enforce=0", None, ""),
        ("lockdown=integrity quiet", None, "lockdown=integrity on the command line"),
        (
            "lockdown=integrity",
            _SIG | {"SECURITY_LOCKDOWN_LSM": "y"},
            "lockdown=integrity on the command line",
        ),
        ("lockdown=integrity", _SIG, ""),
        ("lockdown=none", None, ""),
        ("", _SIG | {"MODULE_SIG_FORCE": "y"}, "CONFIG_MODULE_SIG_FORCE"),
        (
            "",
            _SIG | {"LOCK_DOWN_KERNEL_FORCE_CONFIDENTIALITY": "y"},
            "CONFIG_LOCK_DOWN_KERNEL_FORCE_CONFIDENTIALITY",
        ),
        ("", _SIG, ""),
        ("lockdown=integrity module.sig_enforce", {}, ""),
    ],
)
def test_when_signatures_are_demanded(append: str, config: dict[str, str] | None, why: str) -> None:
    """By the configuration, or by words; never where the kernel looks at none (kernel/module/signing.c)."""
    assert why_signed_only(config, append) == why
