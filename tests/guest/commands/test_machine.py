"""modaliasd without a daemon, an image or a ledger: coldplug --dry-run, why-not, why and tree on a machine as it is."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from modaliasd.cli import main
from modaliasd.commands import ledgerfile, machine, why
from modaliasd.linux.fullsystem import moduletree
from modaliasd.linux.sysfs import Sysfs
from tests.guest.linux.test_sysfs import FakeSys
from tests.support.komaker import FakeModule, make_tree, run_depmod
from tests.support.programs import require_program

KVER = os.uname().release
NIC = "pci:v00008086d0000100E"
NIC_PATH = "/devices/pci0000:00/0000:00:03.0"
MODULES = (
    FakeModule("kt_lib"),
    FakeModule("kt-nic", ["kt_lib"], aliases=["pci:v00008086d*"]),
    FakeModule("kt_disk", aliases=["pci:v00001AF4d*"]),
    FakeModule("kt_bad", aliases=["usb:v0001*"]),
    FakeModule("kt_idle", aliases=["usb:v0002*"]),
)
BUILTIN = (FakeModule("kt_inside", aliases=["acpi:PNP*"]),)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with four devices and a tree of five modules, one of them loaded and one denied; no daemon has run."""
    make_tree(tmp_path, KVER, MODULES, BUILTIN)
    conf = tmp_path / "etc" / "modprobe.d"
    conf.mkdir(parents=True)
    (conf / "kt.conf").write_text("blacklist kt_bad\n")
    fake = FakeSys(tmp_path / "sys")
    fake.device(NIC_PATH, "/bus/pci/devices/0000:00:03.0", f"MODALIAS={NIC}\n")
    fake.device(f"{NIC_PATH}/net/eth0", "/class/net/eth0", "INTERFACE=eth0\n")
    fake.device(
        "/devices/pci0000:00/0000:00:04.0", "/bus/pci/devices/0000:00:04.0", "MODALIAS=pci:v00001AF4d1\n"
    )
    fake.device("/devices/pci0000:00/usb1", "/bus/usb/devices/usb1", "MODALIAS=usb:v0001p1\n")
    fake.device("/devices/acpi/PNP1:00", "/bus/acpi/devices/PNP1:00", "MODALIAS=acpi:PNP1:\n")
    fake.device("/devices/acpi/XXX1:00", "/bus/acpi/devices/XXX1:00", "MODALIAS=acpi:XXX1:\n")
    monkeypatch.setattr(machine, "Sysfs", lambda _root: Sysfs(str(fake.root)))
    monkeypatch.setattr(machine, "read_config", _config_of(tmp_path))
    monkeypatch.setattr(machine, "read_policy", lambda: None)
    monkeypatch.setattr(machine, "read_live_modules", lambda: ["kt_disk"])
    monkeypatch.setattr(why, "read_live_modules", lambda: ["kt_disk"])
    monkeypatch.setattr(ledgerfile, "LEDGER", str(tmp_path / "no-ledger"))
    monkeypatch.setattr(moduletree, "PLACES", (str(tmp_path / "lib/modules"),))
    monkeypatch.setattr(moduletree.require_tree, "__defaults__", ((str(tmp_path / "lib/modules"),),))
    monkeypatch.setattr(moduletree, "takes_modules", lambda: True)
    monkeypatch.setattr(moduletree, "MODULES", str(tmp_path / "lib/modules"))
    return tmp_path


def _config_of(root: Path) -> Callable[[str, str], object]:
    from modaliasd.linux.config import read_config

    return lambda _root, command_line: read_config(str(root), command_line)


def dry_run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What `coldplug --dry-run` prints."""
    assert main(["coldplug", "--dry-run", *arguments]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def compress(tree: Path, program: str, *arguments: str) -> None:
    """Compress the tree's modules, and have depmod list them as they are called then."""
    for file in sorted(tree.rglob("*.ko")):
        subprocess.run([require_program(program), *arguments, "-q", str(file)], check=True)
        file.unlink(missing_ok=True)
    run_depmod(tree.parents[2], tree.name)


@pytest.mark.parametrize(
    "compressor", [(), ("xz", "--check=crc32", "--lzma2=dict=1MiB"), ("zstd", "--rm")], ids=["plain", "xz", "zstd"]
)  # fmt: skip
def test_what_would_be_loaded(
    root: Path, compressor: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """Each module in the order of loading, with the device, the pattern and its line; then what is refused, and why."""
    tree = root / "lib/modules" / KVER
    if compressor:
        compress(tree, *compressor)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert dry_run(capsys, "--all").splitlines() == [
        f"2 modules would be loaded, of {tree}, first to last:",
        "    kt_lib  kt_nic needs it",
        "    kt_nic  pci 0000:00:03.0 by pci:v00008086d*  (line 2 of modules.alias)",
        "1 module would be asked for in vain:",
        "    kt_bad: blacklist: /etc/modprobe.d/kt.conf:1",
        "1 module that devices ask for is loaded already:",
        "    kt_disk  pci 0000:00:04.0 by pci:v00001AF4d*  (line 3 of modules.alias)",
        "6 devices, 5 with a modalias, 4 matched, 0 with a driver",
        "1 device that nothing matches, neither a module nor the kernel:",
        "    acpi XXX1:00  acpi:XXX1:",
    ]
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before, "nothing was written"


def test_the_same_for_programs(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--json has all of it in one object."""
    said = json.loads(dry_run(capsys, "--json"))
    assert [one["module"] for one in said["would_load"]] == ["kt_lib", "kt_nic"]
    assert said["would_load"][1]["causes"] == [
        {"devpath": NIC_PATH, "subsystem": "pci", "modalias": NIC, "alias": "pci:v00008086d*", "line": 2}
    ]
    assert said["would_load"][1]["deps"] == ["kt_lib"]
    assert [(one["module"], one["failure"]) for one in said["refused"]] == [("kt_bad", "blacklist")]
    assert [one["modalias"] for one in said["unmatched"]] == ["acpi:XXX1:"]
    assert said["counts"] == {"devices": 6, "with_modalias": 5, "matched": 4, "bound": 0}


def test_what_the_command_line_names_is_part_of_it(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """modaliasd.load= counts, as for --once; an install line's command stands in the place of its module."""
    monkeypatch.setattr(machine, "read_command_line", lambda _root: "modaliasd.load=kt_idle,kt-none")
    (root / "etc/modprobe.d/in.conf").write_text("install kt_nic /bin/true\n")
    out = dry_run(capsys)
    assert re.search(r"^    kt_idle +asked for by modaliasd.load=$", out, re.MULTILINE)
    assert re.search(r"^    kt_nic .*, runs: /bin/true$", out, re.MULTILINE)


def test_what_is_asked_wrongly(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Options that contradict each other, or need --dry-run, and a directory that is no tree, are refused."""
    assert main(["coldplug", "--dry-run", "--once"]) == 100
    assert main(["coldplug", "--all"]) == 100
    assert main(["coldplug", "--dry-run", "--modules-dir", str(root)]) == 100
    assert main(["coldplug", "--dry-run", "--config-root", str(root / "none")]) == 100
    said = capsys.readouterr().err
    assert "give one of them" in said
    assert "`--all` needs `--dry-run`" in said
    assert f"--modules-dir {root}: no modules.dep is there" in said
    assert "no such directory" in said


WHY_NOT = {
    "kt_nic": ("a device here is for it, and nobody has loaded it", "0000:00:03.0 matched it by pci:v00008086d*"),
    "kt_disk": ("it is loaded but drives nothing", "0000:00:04.0 asked for it; it brought no driver"),
    "kt_bad": ("it is denied", "blacklist: /etc/modprobe.d/kt.conf:1"),
    "kt_idle": ("no device here asks for it", "none of them matches one of its aliases"),
    "kt_inside": ("it is part of the kernel", "nothing to load"),
    "kt_none": ("this kernel has no such module", "Neither modules.order nor modules.builtin"),
}  # fmt: skip


@pytest.mark.parametrize("module", WHY_NOT)
def test_why_not(root: Path, module: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each state of a module has its reason, and no word of images or of a daemon that would know."""
    assert main(["why-not", module]) == int(module == "kt_inside")
    out, err = capsys.readouterr()
    reason, detail = WHY_NOT[module]
    assert out.startswith(f"{module}: {reason}\n")
    assert detail in out
    assert "image" not in out
    assert f"there is no {root}/no-ledger" in err
    assert "run --observe" in err


def test_a_module_whose_file_is_not_there(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """modules.order knows it and modules.dep does not: another package brings it."""
    order = root / "lib/modules" / KVER / "modules.order"
    order.write_text(order.read_text() + "kernel/kt_extra.ko\n")
    assert main(["why-not", "kt_extra"]) == 0
    out = capsys.readouterr().out
    assert "it is not among this kernel's modules here" in out
    assert "another of the kernel's packages may bring it" in out
    assert f"install the package that brings it for {KVER}" in out


def test_why_and_tree(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They answer as of now: no times, which nobody knows, and what is not loaded is said not to be."""
    assert main(["why", "kt-nic", "--color=never"]) == 0
    out = capsys.readouterr().out
    assert "pci 0000:00:03.0 asks for it\n" in out
    assert f"    modalias  {NIC}\n    alias     pci:v00008086d*  line 2 of modules.alias\n" in out
    assert main(["why", "0000:00:03.0", "--color=never"]) == 0
    out = capsys.readouterr().out
    assert "\n  here\n" in out
    assert "kt_nic  is not loaded" in out
    assert main(["why", "kt_idle"]) == 1
    assert "there is here, and asked for, neither a module nor a device `kt_idle`" in capsys.readouterr().err
    assert main(["tree", "--color=never"]) == 0
    out = capsys.readouterr().out
    assert "kt_nic is not loaded" in out
    assert "kt_disk was in the kernel already" in out
    assert out.endswith("as it is now: 6 devices, 3 matched, 0 bound\n")
    assert "?" not in out


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (["coldplug", "--dry-run"], 111),
        (["why-not", "kt_nic"], 111),
        (["why", "kt_nic"], 111),
        (["match", "x:"], 111),
        (["tree"], 111),
    ],
)
def test_without_a_tree_that_is_said(
    root: Path, command: list[str], status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a container without /lib/modules each command says so, and what to do; none ends in silence."""
    (root / "lib/modules").rename(root / "elsewhere")
    assert main(command) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert f"there are no modules of the running kernel {KVER} here" in err
    assert "--modules-dir" in err


def test_a_kernel_that_takes_none(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """That nothing would be loaded, and why not, is an answer."""
    (root / "lib/modules").rename(root / "elsewhere")
    monkeypatch.setattr(moduletree, "takes_modules", lambda: False)
    assert main(["coldplug", "--dry-run"]) == 0
    assert main(["why-not", "kt_nic"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out == [moduletree.NO_MODULES, f"kt_nic: {moduletree.NO_MODULES}"]


def test_any_user_may_ask(root: Path) -> None:
    """A process of an ordinary user reads /sys and the tree, and needs nothing else."""
    if os.geteuid() != 0:
        pytest.skip("the tests are an ordinary user's already")
    setpriv = require_program("setpriv")
    tree = root / "lib/modules" / KVER
    for parent in [root, *root.parents]:
        if parent.stat().st_uid == os.geteuid() and str(parent).startswith("/tmp/"):
            parent.chmod(parent.stat().st_mode | 0o055)
    daemon = root / "daemon"  # the checkout may be where only root may look
    shutil.copytree(Path(__file__).resolve().parents[3] / "daemon/modaliasd", daemon / "modaliasd")
    command = [setpriv, "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-I", "-S", "-c"]
    program = f"import sys; sys.path.insert(0, {str(daemon)!r}); sys.argv[1:] = sys.argv[2:]\n"
    program += "from modaliasd.cli import main\nsys.exit(main())\n"
    if subprocess.run([*command, "import zlib"], check=False, capture_output=True).returncode:
        pytest.skip("this interpreter is not for everybody")
    words = ["--", "coldplug", "--dry-run", "--modules-dir", str(tree)]
    done = subprocess.run(
        [*command, program, *words], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert f"of {tree}" in done.stdout
