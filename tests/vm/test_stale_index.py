"""A guest whose index is stale, and one whose daemon cannot start: every module imports, every command answers.

The tests stand in the order of one life: as it booted, with a touched modules.alias, after depmod, broken, fixed.
"""

from collections.abc import Iterator

import pytest

from hostbuild.image.build import BuiltImage
from hostbuild.qemu.machine import read_machine
from hostbuild.qemu.vm import VM
from modaliasd.cli import COMMANDS
from tests.support.boots import vm_of
from tests.support.faulty import PYTHON, read_ledger, restart, settle

pytestmark = pytest.mark.vm

TREE = "/lib/modules/$(uname -r)"
DISK = "virtio:d00000002v00001AF4"
IMPORT_ALL = r"""
import os
tried = 0
for root in (os.path.dirname(os.__file__), "/usr/lib/modaliasd"):
    for folder, _, files in os.walk(root):
        for file in files:
            name = os.path.join(folder, file)[len(root) + 1:]
            if "lib-dynload" in name:
                name = os.path.basename(name).partition(".")[0]
            elif not name.endswith(".pyc"):
                continue
            name = name.removesuffix(".pyc").removesuffix("/__init__").replace("/", ".")
            tried += 1
            child = os.fork()
            if not child:
                try:
                    __import__(name)
                except BaseException as e:
                    print(name, "->", type(e).__name__, e, flush=True)
                os._exit(0)
            os.waitpid(child, 0)
print(tried)
"""
ARGUMENTS = {  # what each command is given; None: it is not for this test
    "run": None,
    "coldplug": "",
    "settle": "--timeout 30",
    "settled-script": "0 /etc/settled.d/x",
    "wait": "/dev/vda --timeout 10",
    "status": "",
    "freeze": None,
    "may-load": "loop",
    "root": "--help",
    "load": "loop",
    "poweroff": None,
    "tree": "",
    "why": "virtio_blk",
    "why-not": "loop",
    "ledger": "| tail -n 3",
    "audit": "",
    "check-config": "",
    "match": DISK,
}


@pytest.fixture(scope="module")
def vm(image: BuiltImage) -> Iterator[VM]:
    """The machine virtio with the default image, settled."""
    with vm_of(image, read_machine("virtio"), limit_s=900) as machine:
        machine.settled(timeout=150)
        yield machine


def run_every_command(vm: VM) -> dict[str, str]:
    """What each command printed; none with a traceback, or an error that it did not expect."""
    assert set(ARGUMENTS) == {name for _group, commands in COMMANDS for name, *_ in commands}
    said = {}
    for command, arguments in ARGUMENTS.items():
        if arguments is not None:
            said[command] = vm.sh(f"modaliasd {command} {arguments} 2>&1", timeout=60).output
            assert "Traceback" not in said[command], command
            assert "unexpected" not in said[command], command
    return said


def test_every_module_of_the_image_can_be_imported(vm: VM) -> None:
    """Each in a process of its own, in the guest: of the standard library and of the daemon."""
    vm.check(f"cat >/tmp/import-all.py <<'EOF'\n{IMPORT_ALL}\nEOF")
    start = "import sys; sys.path.insert(0, '/usr/lib/modaliasd'); exec(open('/tmp/import-all.py').read())"
    *failures, tried = vm.check(f'{PYTHON} -c "{start}"', timeout=90).splitlines()
    assert failures == []
    assert int(tried) > 80


def test_every_verb_answers(vm: VM) -> None:
    """With the index as hostbuild made it."""
    said = run_every_command(vm)
    assert said["match"].split() == [DISK, "virtio_blk"]
    assert "pyudev" in said["audit"], "which this image has not; said in a line"


def test_a_touched_modules_alias_has_the_index_built(vm: VM) -> None:
    """Verbs build it from the text, and so does a daemon that is started again: it says so, and settles."""
    vm.check(f"touch {TREE}/modules.alias")
    assert run_every_command(vm)["match"].split() == [DISK, "virtio_blk"]
    restart(vm)
    settle(vm)
    assert read_ledger(vm, "start")[-1]["index"] == "built"
    assert "it is loaded and drives a device" in vm.sh("modaliasd why-not virtio_blk --color never").output
    settled = vm.console.splitlines()[-1]
    assert "modaliasd: settled: " in settled, "the last line is on the console, though none follows it"


def test_depmod_in_the_guest_has_it_built_again(vm: VM) -> None:
    """busybox's depmod writes other files; the daemon notices, and all goes on."""
    vm.check("depmod -a", timeout=60)
    assert vm.check(f"modaliasd match {DISK}").split() == [DISK, "virtio_blk"]
    restart(vm)
    settle(vm)
    assert vm.check("modaliasd why virtio_blk").splitlines()[0] != "virtio_blk  was in the kernel already"


def test_a_daemon_that_cannot_start_says_it_once_and_slows_down(vm: VM) -> None:
    """Without the module that builds an index: one line on the console, a traceback in a file, starts further apart."""
    vm.check("mv /usr/lib/modaliasd/modaliasd/core/index/build.pyc /tmp; kill $(pidof modaliasd)")
    times = []
    for count in (3, 4):
        vm.check(f"until grep -q '^{count} ' /run/modaliasd/failure; do usleep 200000; done", timeout=60)
        times.append(float(vm.check("awk '{print $2}' /run/modaliasd/failure")))
    assert times[1] - times[0] >= 4, "the third failure in a row has the next start wait four seconds"
    lines = [line for line in vm.console.splitlines() if "the daemon failed" in line]
    assert len(lines) == 1
    assert "unexpected ModuleNotFoundError: No module named 'modaliasd.core.index.build'" in lines[0]
    assert "Traceback" not in vm.console
    assert vm.check("head -n 1 /run/modaliasd/crash").startswith("Traceback")
    refused = vm.sh("modaliasd settle --timeout 5 2>&1")
    assert refused.status == 111
    assert "Traceback" not in refused.output
    [failure] = [r for r in read_ledger(vm, "warning") if r["what"] == "daemon failed"]
    assert "core.index.build" in failure["message"]


def test_once_it_can_start_it_works_again(vm: VM) -> None:
    """The next start is at most half a minute away, and all is as before."""
    lives = int(vm.check("cat /run/modaliasd/lives"))
    vm.check("mv /tmp/build.pyc /usr/lib/modaliasd/modaliasd/core/index/")
    vm.check(f"until grep -q '^{lives + 1}$' /run/modaliasd/lives; do usleep 200000; done", timeout=60)
    settle(vm)
    assert "it is loaded and drives a device" in vm.sh("modaliasd why-not virtio_blk --color never").output
