"""The pytest plugin's guests, as a project sees them: what fails is said in words, and shows the guest. Four boots."""

import os
import re
import subprocess
import sys

import pytest

pytestmark = pytest.mark.vm

SUITE = '''
import pytest
from hostbuild.testing import Guest, GuestError, GuestTimeoutError

pytestmark = [
    pytest.mark.guest(shared=True),
    pytest.mark.machine(devices=["qemu-xhci,id=xhci", "virtio-scsi-pci,id=scsi0"]),
]

def test_several_at_once(guest: Guest) -> None:
    """What is plugged in together is told apart, on three buses."""
    nic = guest.plug("e1000", wait=False)
    disk = guest.plug("nvme", wait=False, serial="1")
    stick = guest.plug("usb-disk")
    scsi = guest.plug("scsi-hd")
    assert guest.expect_node(nic, "eth*") == "eth0"
    assert guest.expect_node(disk, "/dev/nvme?n1") == "/dev/nvme0n1"
    assert guest.expect_bound(stick, "sd").subsystem == "scsi"
    assert guest.expect_node(scsi, "/dev/sd?") != guest.expect_node(stick, "/dev/sd?")
    assert guest.why("nvme").load.outcome == "inserted"
    assert guest.expect_bound("scsi0", "virtio_scsi").subsystem == "virtio"
    guest.unplug(nic)
    guest.unplug()
    assert guest.plugged == [disk, stick]

def test_all_is_undone(guest: Guest) -> None:
    """The next test has the guest as it was."""
    assert guest.plugged == []
    assert guest.run("ls /sys/class/net").stdout.split() == ["lo"]
    assert guest.run("ls /sys/class/block", check=False).stdout == ""

def test_streams(guest: Guest) -> None:
    """Status, stdout and stderr come apart, any bytes and any length of them."""
    done = guest.run("echo out; echo err >&2; exit 7 # no", check=False)
    assert (done.status, done.stdout, done.stderr) == (7, "out\\n", "err\\n")
    assert guest.run(["printf", "%s|", "a b", "$HOME"]).stdout == "a b|$HOME|"
    assert len(guest.run("yes | head -c 300000").stdout) == 300000
    assert guest.run("printf '\\\\377'").stdout.encode("utf-8", "surrogateescape") == b"\\xff"

def test_unknown_device(guest: Guest) -> None:
    guest.plug("nvmee")

def test_unknown_property(guest: Guest) -> None:
    guest.plug("nvme", serail="1")

def test_not_bound(guest: Guest) -> None:
    guest.expect_bound(guest.plug("e1000"), "nvme", timeout=3)

def test_bound_after_all(guest: Guest) -> None:
    guest.expect_unbound(guest.plug("virtio-rng-pci"))

def test_command(guest: Guest) -> None:
    guest.run("nonesuch --help")

def test_module(guest: Guest) -> None:
    guest.why("nonesuch")

def test_no_place(guest: Guest) -> None:
    for _ in range(5):
        guest.plug("virtio-rng-pci")

def test_it_stays(guest: Guest) -> None:
    """A device that does not go costs the guest, not the next test."""
    guest.run("mkdir -p /run/x; echo 1 >/run/stays")
    plugged = guest.plug("virtio-rng-pci", id="stays")
    guest.vm.monitor.execute("stop")  # a kernel that does nothing for now
    with pytest.raises(GuestTimeoutError, match="did not release the device stays within 3 s"):
        guest.unplug(plugged, timeout=3)

def test_another_guest(guest: Guest) -> None:
    assert guest.run("[ -e /run/stays ]", check=False).status == 1
    assert guest.plugged == []

def test_it_hangs(guest: Guest) -> None:
    guest.run("sleep 1000", timeout=2)

@pytest.mark.guest(shared=False)
def test_panic(guest: Guest) -> None:
    guest.run("echo c >/proc/sysrq-trigger")
'''
# A test that has to fail -> what its failure says.
SAID = {
    "unknown_device": "'nvmee' is not a valid device model name; did you mean nvme",
    "unknown_property": "Property 'nvme.serail' not found; did you mean serial",
    "not_bound": r"e1000 (hot",
    "bound_after_all": "was to have no driver, but virtio-pci drives 0000:01:00.0 and virtio_rng drives virtio",
    "command": "in the guest, `nonesuch --help` ended with status 127:",
    "module": "nonesuch: this kernel has no such module",
    "no_place": "no free port for virtio-rng-pci: empty has 4, all taken",
    "it_hangs": "the guest did not finish the command",
    "panic": "the guest's kernel panicked",
}
SECTIONS = (
    "guest: its tree (empty, plugged in: ",
    "guest: the ledger's last lines",
    "guest: the kernel's last lines",
)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What pytest prints for the suite, in a process of its own."""
    directory = tmp_path_factory.mktemp("suite")
    (directory / "test_suite.py").write_text(SUITE, encoding="utf-8")
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    words = ["-p", "no:cacheprovider", "--guest-accel", "tcg", "-n", "2", "--dist", "loadscope", "-rA"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words],
        capture_output=True,
        text=True,
        cwd=directory,
        env=env,
        timeout=1500,
        check=False,
    )
    return done.stdout + done.stderr


def outcomes(told: str) -> dict[str, str]:
    """The tests' outcomes by their names."""
    return {name: word for word, name in re.findall(r"(?m)^(\w+) test_suite\.py::test_(\w+)", told)}


def failure(told: str, name: str) -> str:
    """The part of the output that is about one failed test."""
    return told.partition(f"_ test_{name} _")[2].partition("\n____")[0]


def test_what_works_passes(told: str) -> None:
    """Those of the suite that are not meant to fail pass, on two workers, in one guest where that is asked for."""
    found = outcomes(told)
    assert {name for name, word in found.items() if word == "FAILED"} == SAID.keys(), told
    assert sum(word == "PASSED" for word in found.values()) == 5, told


@pytest.mark.parametrize("name", SAID)
def test_what_fails_is_said_in_words(name: str, told: str) -> None:
    """The failure stands at the test's own line, without our inside, and shows tree, ledger and kernel."""
    text = failure(told, name)
    assert SAID[name] in text
    head = text.partition("guest: its tree")[0]
    assert "hostbuild/" not in head
    assert re.search(r"(?m)^test_suite\.py:\d+: ", head)
    for section in SECTIONS:
        assert section in text
    assert "Traceback" not in text


def test_a_device_that_stays_is_told(told: str) -> None:
    """The guest that could not be undone ends with a warning that says why."""
    assert (
        "the shared guest ends here, and the next test has another: virtio-rng-pci (stays) did not go" in told
    )
