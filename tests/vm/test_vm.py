"""hostbuild.qemu.vm and hostbuild run on real machines, with a guest of one shell script.

The guest speaks the contract (ledger on ttyS1, shell on ttyS2): what is proved here is the machine's half.
"""

import os
import pty
import select
import signal
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hostbuild.board import MachineType
from hostbuild.errors import GuestError, GuestTimeoutError, InputError
from hostbuild.kernels.kernel import Kernel
from hostbuild.qemu.boot import Boot
from hostbuild.qemu.device import Device
from hostbuild.qemu.lines import Line
from hostbuild.qemu.machine import Machine, read_machine
from hostbuild.qemu.monitor import CommandRefusedError
from hostbuild.qemu.vm import VM
from tests.support.commandline import hostbuild_argv
from tests.support.tinyguest import AGENT, PROLOGUE, write_image

pytestmark = pytest.mark.vm

RECORDS = """echo '{"type":"start","t_us":1,"format":1}' >&3
echo '{"type":"torn' >&3
echo '{"type":"settled","t_us":2}' >&3
"""


@pytest.fixture(scope="module")
def talking(debian_kernel: Kernel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VM]:
    """A machine with free ports, up and answering; shared by the tests that only talk to it."""
    image = write_image(tmp_path_factory.mktemp("guest") / "talking.img", PROLOGUE + RECORDS + AGENT)
    with VM(read_machine("empty"), Boot(debian_kernel.vmlinuz, image, memory=256)) as vm:
        yield vm


def alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def eventually(condition: Callable[[], bool], limit_s: float = 20.0) -> bool:
    """Whether the condition comes true within the limit."""
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def qemu_below(pid: int) -> int:
    """Return the pid of the QEMU that a process has started, 0 while there is none."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except OSError:
        return 0
    for child in map(int, children):
        if "qemu-system" in os.readlink(f"/proc/{child}/exe"):
            return child
    return 0


def test_the_ledger_comes_over_its_line(talking: VM) -> None:
    """Records arrive in order, a torn line is kept beside them and stops nothing."""
    settled = talking.settled()
    assert [record["type"] for record in talking.ledger[:2]] == ["start", "settled"]
    assert settled == {"type": "settled", "t_us": 2}
    assert [line for _number, _reason, line in talking.skipped.named] == [b'{"type":"torn']
    assert "Run /init as init process" in talking.console


def test_sh_gives_status_and_output(talking: VM) -> None:
    """A command's status and output come back whole, also where it reads stdin, exits or is no shell."""
    done = talking.sh("printf 'no newline'; cat; echo oops >&2; exit 3")
    assert (done.status, done.output) == (3, "no newlineoops\n")
    broken = talking.sh("echo 'unbalanced")
    assert broken.status != 0
    assert "unterminated" in broken.output
    many = talking.sh("seq 1 2000")
    assert many.output.split() == [str(number) for number in range(1, 2001)]
    assert talking.check("cat /proc/cmdline").split() == [
        "console=ttyS0",
        "panic=-1",
        "clocksource=hpet",
        "no_timer_check",
        "modaliasd.channel=/dev/ttyS1",
        "micro.agent=/dev/ttyS2",
    ]
    with pytest.raises(GuestError, match="status 1"):
        talking.check("false")


def test_a_command_that_does_not_end(talking: VM) -> None:
    """A command beyond its time limit is an error; the next command waits for its end."""
    with pytest.raises(GuestTimeoutError, match="did not finish the command 'sleep 1'"):
        talking.sh("sleep 1", timeout=0.1)
    assert talking.sh("echo next").output == "next\n"


@pytest.mark.parametrize(
    ("driver", "modalias"), [("virtio-net-pci", "pci:v00001AF4d00001041"), ("nvme", "pci:v00001B36d00000010")]
)
def test_a_device_comes_and_goes(talking: VM, driver: str, modalias: str) -> None:
    """device_add makes the device appear in the guest's sysfs, device_del returns once it is gone."""
    look = "cat /sys/bus/pci/devices/*/modalias"
    assert modalias not in talking.check(look)
    device = talking.device_add(driver)
    assert eventually(lambda: modalias in talking.check(look))
    talking.device_del(device)
    assert modalias not in talking.check(look)
    nodes = talking.monitor.execute("query-named-block-nodes")
    assert nodes == [], "the disk's backend goes with it"


def test_more_devices_than_ports(talking: VM) -> None:
    """Each device takes a port of its own; without one left the error says so; a port freed counts again."""
    devices = [talking.device_add("edu") for _ in range(talking.machine.root_ports)]
    with pytest.raises(GuestError, match="no free port"):
        talking.device_add("edu")
    # The guest lets a device go only once it has taken it in.
    count = "cat /sys/bus/pci/devices/*/modalias | grep -c v00001234d000011E8"
    assert eventually(lambda: talking.sh(count).output == f"{len(devices)}\n")
    for device in devices:
        talking.device_del(device)
    talking.device_del(talking.device_add("pci-testdev", id="again"))


def test_qemu_refuses_a_device(talking: VM) -> None:
    """A driver that QEMU does not know is an error with near names, one that it refuses otherwise one in its words;
    no backend is left behind.
    """
    with pytest.raises(InputError, match=r"'virtio-blk-pcie' is not a valid .*; did you mean virtio-blk-pci"):
        talking.device_add("virtio-blk-pcie")
    with pytest.raises(CommandRefusedError, match="Bus 'nonsense' not found"):
        talking.device_add("virtio-blk-pci", bus="nonsense")
    assert talking.monitor.execute("query-named-block-nodes") == []


def test_the_exit_status_is_the_guests(debian_kernel: Kernel, tmp_path: Path) -> None:
    """hostbuild run ends with the ledger's exit status, shows the console, writes the ledger as it came."""
    script = PROLOGUE + RECORDS + "echo hello from the guest\n" + 'echo \'{"type":"exit","status":7}\' >&3\n'
    image = write_image(tmp_path / "exit.img", script + "poweroff -f\n")
    ledger = tmp_path / "ledger.jsonl"
    machine = tmp_path / "old.toml"
    machine.write_text('machine = "pc"\nmemory = "192M"\ndevices = ["rtl8139"]\n', encoding="utf-8")
    argv = hostbuild_argv("run", image, "--kernel", debian_kernel.vmlinuz, "--machine", machine)
    argv += ["--accel", "tcg", "--ledger-out", str(ledger), "--timeout", "120"]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=150, check=False)
    assert done.returncode == 7, done.stderr.decode()
    assert b"hello from the guest" in done.stdout
    assert b"on the channel, 1 line was skipped" in done.stderr
    assert ledger.read_text(encoding="utf-8").splitlines() == [
        '{"type":"start","t_us":1,"format":1}',
        '{"type":"torn',
        '{"type":"settled","t_us":2}',
        '{"type":"exit","status":7}',
    ]


def test_an_end_without_a_status_is_none_that_was_asked_for(debian_kernel: Kernel, tmp_path: Path) -> None:
    """Where the guest was to end with its status, switching itself off without one is no success."""
    image = write_image(tmp_path / "silent.img", PROLOGUE + RECORDS + "poweroff -f\n")
    argv = hostbuild_argv("run", image, "--kernel", debian_kernel.vmlinuz, "--machine", "empty")
    argv += ["--accel", "tcg", "--timeout", "120", "--exit-when-settled"]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=150, check=False)
    assert done.returncode == 112, done.stderr.decode()
    assert b"before it had settled and reported its exit status" in done.stderr


def test_a_panic_has_its_reason(debian_kernel: Kernel, tmp_path: Path) -> None:
    """A guest whose /init ends panics; who waits for a record is told so at once, with what fixes it."""
    image = write_image(tmp_path / "panic.img", "#!/bin/busybox sh\nexit 1\n")
    seen = bytearray()
    boot = Boot(debian_kernel.vmlinuz, image, memory=256, agent=False)
    with VM(Machine(type=MachineType.PC), boot, listeners={Line.CONSOLE: seen.extend}) as vm:
        with pytest.raises(GuestError, match="/init, ended") as caught:
            vm.settled()
        assert caught.value.exit_status == 112
        assert "never exit" in caught.value.hint
        assert "Kernel panic" in str(caught.value)
        assert not vm.running
    assert b"Kernel panic" in seen


def test_the_time_limit_leaves_nothing_behind(debian_kernel: Kernel, tmp_path: Path) -> None:
    """A guest that still runs at its limit is ended; process and directory are gone after the with."""
    image = write_image(tmp_path / "busy.img", PROLOGUE + AGENT)
    with VM(Machine(), Boot(debian_kernel.vmlinuz, image, memory=256, limit_s=1.0)) as vm:
        pid = vm.pid
        assert alive(pid)
        with pytest.raises(GuestTimeoutError, match="still running after 1 s"):
            vm.wait()
    assert not alive(pid)
    assert not vm.directory.exists()


def test_a_machine_that_qemu_refuses(debian_kernel: Kernel, tmp_path: Path) -> None:
    """A machine that QEMU does not start is an error in QEMU's words, and leaves nothing behind."""
    image = write_image(tmp_path / "any.img", PROLOGUE)
    vm = VM(Machine(devices=(Device("no-such-device"),)), Boot(debian_kernel.vmlinuz, image))
    with pytest.raises(InputError, match="no-such-device"):
        vm.__enter__()
    assert not vm.directory.exists()


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)],
    ids=["ctrl-c", "terminated", "killed"],
)
def test_no_qemu_outlives_hostbuild(
    debian_kernel: Kernel, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    """Ctrl-C and SIGTERM end the machine and clean up; even SIGKILL, never caught, leaves no QEMU."""
    image = write_image(tmp_path / "busy.img", PROLOGUE + AGENT)
    argv = hostbuild_argv("run", image, "--kernel", debian_kernel.vmlinuz, "--accel", "tcg")
    argv = [
        "env",
        "--default-signal=INT",
        *argv,
    ]  # a shell's background jobs, and what they start, ignore Ctrl-C
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.read(1), "the guest says something"
            qemu = qemu_below(process.pid)
            assert qemu
            process.send_signal(number)
            process.stdout.read()
            assert process.wait(30) == status
        finally:
            process.kill()
    assert eventually(lambda: not alive(qemu))
    if number is not signal.SIGKILL:
        assert list(tmp_path.glob("hostbuild-vm-*")) == []


def test_the_console_on_a_terminal(debian_kernel: Kernel, tmp_path: Path) -> None:
    """On a terminal, typing reaches the guest; Ctrl-A x ends it with status 0 and restores the terminal."""
    image = write_image(tmp_path / "cat.img", PROLOGUE + 'while read line; do echo "heard $line"; done\n')
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    argv = hostbuild_argv(
        "run", image, "--kernel", debian_kernel.vmlinuz, "--accel", "tcg", "--machine", "empty"
    )
    with subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        try:
            seen = bytearray()
            read_until(ours, seen, b"Run /init as init process")
            os.write(ours, b"a word\r")
            read_until(ours, seen, b"heard a word")
            os.write(ours, b"\x01x")
            assert process.wait(30) == 0
            assert termios.tcgetattr(theirs) == before
        finally:
            process.kill()
            os.close(ours)
            os.close(theirs)


def read_until(fd: int, seen: bytearray, wanted: bytes, limit_s: float = 60.0) -> None:
    """Read from a terminal until it has shown `wanted`."""
    deadline = time.monotonic() + limit_s
    while wanted not in seen:
        ready, _, _ = select.select([fd], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, f"{wanted!r} did not show: {bytes(seen[-500:])!r}"
        seen += os.read(fd, 4096)
