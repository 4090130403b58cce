"""A guest made ready for commands: settled, its shared folders mounted; and what became of one that was not."""

import re
import time

from hostbuild import ui
from hostbuild.errors import GuestError, GuestTimeoutError
from hostbuild.guest.agent import Agent
from hostbuild.guest.command import Command, request, run_to_end
from hostbuild.guest.share import mount_script
from hostbuild.near import listed
from hostbuild.qemu.exit_status import exit_status
from hostbuild.qemu.vm import VM

SETTLE_S = 300.0
_MOUNT_S = 60.0
_SILENT_S = 12.0  # two questions of guest/foreground.py's without an answer
_POWEROFF_S = 30.0
_KILLED = re.compile(r"Out of memory: Killed process (\d+) \(([^)\n]{0,64})\)")


def make_ready(vm: VM) -> Agent:
    """Wait until the guest has settled, mount its folders, and return its agent.

    Raises GuestError for a guest that ends, or cannot mount one; GuestTimeoutError at the boot's limit.
    """
    limit = min(SETTLE_S, vm.boot.limit_s)
    vm.settled(timeout=limit)
    vm.agent(timeout=limit)
    vm.take_port()
    mount(vm)
    return vm.agent()


def mount(vm: VM) -> None:
    """Mount a guest's shared folders, once it has settled. Raises GuestError."""
    shares = vm.boot.shares
    if not shares:
        return
    done = run_to_end(vm.agent(), request(["sh", "-c", mount_script(shares)]), timeout=_MOUNT_S)
    if done is None:
        raise GuestTimeoutError(f"the guest did not mount its shared folders within {_MOUNT_S:g} s")
    if done.status:
        said = done.stderr.decode("utf-8", "replace").strip()
        transports = list(dict.fromkeys(share.transport for share in shares))
        modules = listed([name for one in transports for name in one.modules])
        options = listed([one.options for one in transports])
        raise GuestError(
            f"the guest cannot mount a shared folder: {said}",
            hint=f"its kernel has to have {options}, or its image the modules {modules}",
        )


def power_off(vm: VM, agent: Agent, status: int) -> None:
    """Have the guest leave its disks and end, its last word in the ledger; should it not, whoever has it ends it."""
    words = f"modaliasd poweroff {status} || poweroff -f || reboot -f"
    Command(agent, request(["sh", "-c", f"({words}) </dev/null >/dev/null 2>&1 &"])).end_input()
    try:
        vm.wait(timeout=_POWEROFF_S)
    except GuestError:
        ui.note("the guest did not switch itself off, and was ended")


def status_of_lost(vm: VM, agent: Agent, reason: str) -> int:
    """Return the exit status of a guest that has ended under a command: what it said itself.

    Raises GuestError for one that panicked, vanished or said none, GuestTimeoutError at the time limit.
    """
    silent = time.monotonic() - agent.heard
    try:
        vm.wait(timeout=10.0)
    except GuestTimeoutError as e:
        if vm.running:
            raise GuestError(f"the command did not end: {reason}", console=vm.console) from e
        if silent > _SILENT_S:
            raise GuestTimeoutError(
                f"the guest hangs: its agent has said nothing for {silent:.0f} s, and at the time limit of "
                f"{vm.boot.limit_s:g} s it was ended" + _because(e),
                console=e.console,
                hint="--append softlockup_panic=1 makes a panic, with a report, of a CPU that is stuck",
            ) from e
        raise GuestTimeoutError(
            f"the command was still running after {vm.boot.limit_s:g} s, and was ended with its guest",
            hint="give it more time (--timeout)",
        ) from e
    status = exit_status(vm.ledger)
    if status is None:
        raise GuestError(
            "the guest switched itself off, or restarted, before the command ended", console=vm.console
        )
    return status


def out_of_memory(console: str) -> str:
    """Return what to say of a console on which the kernel ended processes for want of memory; "" otherwise."""
    found = list(_KILLED.finditer(console))
    if not found:
        return ""
    pid, name = found[-1].groups()
    return f"the guest ran out of memory, and its kernel ended {name} (pid {pid}); give it more (--memory)"


def _because(error: GuestError) -> str:
    first = str(error.args[0]) if error.args else ""
    _, _, why = first.partition("was ended: ")
    return f": {why}" if why else ""
