"""Whether a program can be a root's first: core/root/program.py, linux/root/newroot.py."""

import sys
from pathlib import Path

import pytest

from modaliasd.core.root.program import HEAD, interpreter_of, why_not_run
from modaliasd.linux.root.newroot import inside, why_not_init
from tests.support.programs import require_program

X86 = b"\x3e\0"


def test_this_interpreter() -> None:
    """A program of this machine can be run, and its loader is the one that its header names."""
    head = Path(sys.executable).resolve().read_bytes()[:HEAD]
    assert why_not_run(head, head[18:20]) == ""
    assert "ld" in interpreter_of(head)


@pytest.mark.parametrize(
    ("head", "why"),
    [
        (b"", "it is empty"),
        (b"hello", "it is not a program"),
        (b"#!\n", "names no interpreter"),
        (b"\x7fELF\x02\x01" + bytes(10) + b"\2\0\xb7\0" + bytes(60), "for arm64, and this machine is x86_64"),
    ],
)
def test_what_cannot_run(head: bytes, why: str) -> None:
    """Each says why."""
    assert why in why_not_run(head, X86)


def test_paths_stay_in_the_new_root(tmp_path: Path) -> None:
    """An absolute link of the new root leads to a place in it, and `..` does not lead out of it."""
    (tmp_path / "usr/lib/systemd").mkdir(parents=True)
    (tmp_path / "usr/sbin").mkdir()
    (tmp_path / "usr/lib/systemd/systemd").write_text("#!/bin/sh\n")
    (tmp_path / "sbin").symlink_to("usr/sbin")
    (tmp_path / "usr/sbin/init").symlink_to("/usr/lib/systemd/systemd")
    (tmp_path / "out").symlink_to("../../../usr/sbin/init")
    assert inside(str(tmp_path), "/sbin/init") == f"{tmp_path}/usr/lib/systemd/systemd"
    assert inside(str(tmp_path), "/out") == f"{tmp_path}/usr/lib/systemd/systemd"
    (tmp_path / "ring").symlink_to("ring")
    with pytest.raises(OSError, match="symbolic links"):
        inside(str(tmp_path), "/ring")


def test_why_not_init(tmp_path: Path) -> None:
    """Missing, a directory, not executable, without its interpreter: each is told; a good one is not."""
    (tmp_path / "bin").mkdir()
    init = tmp_path / "bin/init"
    assert why_not_init(str(tmp_path), "/bin/init") == "it is not there"
    assert why_not_init(str(tmp_path), "/bin") == "it is a directory"
    init.write_text("#!/bin/sh\n")
    assert why_not_init(str(tmp_path), "/bin/init") == "it is not executable"
    init.chmod(0o755)
    assert why_not_init(str(tmp_path), "/bin/init") == "it needs /bin/sh, which is not there"
    (tmp_path / "bin/sh").write_text("")
    assert why_not_init(str(tmp_path), "/bin/init") == ""


def test_programs_without_a_loader() -> None:
    """A static program needs none; nor does one of 32 bits, or one whose headers end early, tell of one."""
    whole = Path(sys.executable).resolve().read_bytes()[:HEAD]
    assert interpreter_of(whole)
    assert interpreter_of(whole[:4] + b"\x01" + whole[5:]) == ""
    assert interpreter_of(whole[:80]) == ""
    assert interpreter_of(Path(require_program("busybox")).read_bytes()[:HEAD]) == ""
