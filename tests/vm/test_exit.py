"""hostbuild run --exit-when-settled: the whole ledger arrives, every time, and the status says what failed."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from hostbuild.image.build import BuiltImage, ImageOptions, build_image
from hostbuild.kernels.kernel import Kernel, require_kernel
from hostbuild.qemu.boot import Boot
from hostbuild.qemu.machine import read_machine
from hostbuild.qemu.vm import VM
from hostbuild.ui import Silent
from tests.support.boots import vm_of
from tests.support.commandline import hostbuild_argv
from tests.support.ledgers import read_ledger
from tests.support.schema import check_records

pytestmark = pytest.mark.vm

BOOTS = int(os.environ.get("HOSTBUILD_TEST_BOOTS", "10"))  # docs/running.md
PYTHON = ("collections.abc",)  # what the builder of an index needs
POLICY = "etc/modaliasd/policy.toml"


@pytest.fixture(scope="module")
def smallest(debian_kernel: Kernel, tmp_path_factory: pytest.TempPathFactory) -> BuiltImage:
    """The smallest image: no modules."""
    assert debian_kernel
    path = tmp_path_factory.mktemp("smallest") / "none.img"
    return build_image(path, ImageOptions("deb:linux-image-amd64", modules="none", python=PYTHON))


def build(tmp_path: Path, files: dict[str, tuple[int, str]]) -> BuiltImage:
    """The smallest image with an overlay of these files: path -> mode, text."""
    for name, (mode, text) in files.items():
        path = tmp_path / "overlay" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)
    overlays = (tmp_path / "overlay",)
    options = ImageOptions("deb:linux-image-amd64", modules="none", overlays=overlays, python=PYTHON)
    return build_image(tmp_path / "own.img", options)


def run(image: Path, ledger: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Boot until settled, with its console and what hostbuild says."""
    words = ["--machine", "virtio", "--exit-when-settled", "--accel", "tcg", "--timeout", "120"]
    argv = hostbuild_argv("run", image, *words, "--ledger-out", ledger, *more)
    return subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=150, check=False
    )


@pytest.mark.parametrize("boot", range(BOOTS))
def test_the_whole_ledger_arrives(smallest: BuiltImage, tmp_path: Path, boot: int) -> None:
    """Every line on the channel is a whole record, `exit` is the last, and hostbuild has nothing to complain of.

    Devices that the drivers let go while the machine is switched off have uevents: none of them may follow.
    """
    done = run(smallest.image, tmp_path / "boot.jsonl")
    assert (done.returncode, done.stderr) == (0, ""), done
    raw = (tmp_path / "boot.jsonl").read_bytes()
    assert raw.endswith(b"}\n")
    assert b"\r" not in raw
    records = [json.loads(line) for line in raw.splitlines()]
    check_records(records)
    types = [record["type"] for record in records]
    assert types[0] == "start"
    assert "settled" in types
    assert types.index("exit") == len(types) - 1
    devices = {record["devpath"] for record in records if record.get("action") == "coldplug"}
    settled = next(record for record in records if record["type"] == "settled")
    assert settled["devices"] >= len(devices) > 200, "the middle is there as well"


def test_programs_fail_with_their_own_status(debian_kernel: Kernel, tmp_path: Path) -> None:
    """The first status that is not 0 is the machine's; all programs run; who failed stands in the ledger, too."""
    assert debian_kernel
    programs = {
        "10-good": (0o755, "#!/bin/sh\necho the good\n"),
        "20 bad": (0o755, "#!/bin/sh\necho the bad; exit 5\n"),
        "30-worse": (0o755, "#!/bin/sh\nexit 9\n"),
        "40-unmarked": (0o644, "#!/bin/sh\necho never\n"),
        "50-last": (0o755, "#!/bin/sh\necho the last\n"),
    }
    built = build(tmp_path, {f"etc/settled.d/{name}": program for name, program in programs.items()})
    done = run(built.image, tmp_path / "boot.jsonl")
    assert done.returncode == 5, done
    for said in (
        "the good",
        "the bad",
        "settled: /etc/settled.d/20 bad ended with status 5",
        "settled: /etc/settled.d/30-worse ended with status 9",
        "settled: /etc/settled.d/40-unmarked is not executable, and was not run",
        "the last",
    ):
        assert said in done.stdout
    assert "never" not in done.stdout
    records = read_ledger(tmp_path / "boot.jsonl")
    check_records(records)
    found = [(r["path"], r["message"]) for r in records if r.get("what") == "settled.d"]
    assert found == [
        ("/etc/settled.d/20 bad", "it ended with status 5"),
        ("/etc/settled.d/30-worse", "it ended with status 9"),
        ("/etc/settled.d/40-unmarked", "it is not executable, and was not run"),
    ]
    assert "hostbuild: in the guest: /etc/settled.d/20 bad: it ended with status 5" in done.stderr


def test_a_program_that_cannot_run_is_a_failure(debian_kernel: Kernel, tmp_path: Path) -> None:
    """A test that was not run has not passed: 126, a shell's status for what is not executable."""
    assert debian_kernel
    built = build(tmp_path, {"etc/settled.d/test": (0o644, "#!/bin/sh\nexit 5\n")})
    done = run(built.image, tmp_path / "boot.jsonl")
    assert done.returncode == 126, done
    assert "/etc/settled.d/test: it is not executable" in done.stderr


def test_a_broken_policy_is_a_failure(debian_kernel: Kernel, tmp_path: Path) -> None:
    """A policy with a mistake denies everything: the console says so, and the status is that of wrong input."""
    assert debian_kernel
    files = {POLICY: (0o644, 'hotplug = "maybe"\n'), "etc/settled.d/test": (0o755, "#!/bin/sh\nexit 3\n")}
    done = run(build(tmp_path, files).image, tmp_path / "boot.jsonl", "--verbose")
    assert done.returncode == 100, done
    assert f"modaliasd: /{POLICY}:1: " in done.stdout
    assert "everything is denied" in done.stdout
    assert f"hostbuild: in the guest: /{POLICY}:1: " in done.stderr
    assert "/etc/settled.d/test: it ended with status 3" in done.stderr, "programs run all the same"


@pytest.mark.net
def test_a_kernel_without_its_modules(smallest: BuiltImage, tmp_path: Path) -> None:
    """Booted past hostbuild's check, a guest without modules for its kernel says so once, and ends with 111."""
    cloud = require_kernel("deb:linux-image-cloud-amd64", None, Silent())
    boot = Boot(cloud.vmlinuz, smallest.image, append="modaliasd.poweroff=settled", agent=False, limit_s=120)
    with VM(read_machine("virtio"), boot) as vm:
        assert vm.wait() == 111
        said = [line for line in vm.console.splitlines() if "no module can be loaded" in line]
        assert len(said) == 1
        assert (
            f"for the running kernel {cloud.version}, there are modules for {smallest.kernel.version}"
            in said[0]
        )
        warnings = [record for record in vm.ledger if record["type"] == "warning"]
        assert [warning["what"] for warning in warnings] == ["modules"]
        assert vm.ledger[-1]["type"] == "exit"


@pytest.mark.net
def test_once_without_modules_ends(debian_kernel: Kernel, tmp_path: Path) -> None:
    """`coldplug --once` in such a guest ends by itself, with 111 and the line."""
    assert debian_kernel
    cloud = require_kernel("deb:linux-image-cloud-amd64", None, Silent())
    inittab = (
        "::wait:/bin/sh -c 'modaliasd coldplug --once; echo ended with $? >/dev/console; exec poweroff -f'\n"
    )
    built = build(tmp_path, {"etc/inittab": (0o644, inittab)})
    with VM(read_machine("virtio"), Boot(cloud.vmlinuz, built.image, agent=False, limit_s=120)) as vm:
        assert vm.wait() == 0
        assert "ended with 111" in vm.console
        assert "no module can be loaded" in vm.console


@pytest.mark.parametrize(("words", "rate"), [("", None), ("clocksource=tsc tsc=reliable", 60)])
def test_a_wrong_rate_of_the_tsc(smallest: BuiltImage, words: str, rate: int | None) -> None:
    """A kernel that takes the TSC for one of 41 MHz has a right clock all the same; if it believes it, that is told."""
    append = f"tsc_early_khz=41000 {words}"
    machine = read_machine("virtio")
    with vm_of(smallest, machine, append=append, agent=False, poweroff=True, limit_s=200) as vm:
        assert vm.wait() == 0
        assert "tsc: Detected 41.000 MHz" in vm.console
        found = vm.clock_rate()
        assert found is None if rate is None else (found is not None and found > 10)
