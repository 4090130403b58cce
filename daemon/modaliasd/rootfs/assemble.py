"""Opens what lies below a file system: arrays, volume groups, encryption, where the image has the tools for it.

What they make comes as block devices of its own, by uevents like any other.
"""

from __future__ import annotations

from modaliasd.linux.root.programs import find_program, run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from modaliasd.core.root.target import BlockDevice
    from modaliasd.linux.process import Ended


def assemble(device: BlockDevice) -> Ended | None:
    """Open the member; None where there is no tool for it. OSError where the tool cannot be run."""
    if device.holds is None:
        return None
    for kind, name, arguments in _TOOLS:
        program = find_program(name) if device.holds.type == kind else ""
        if program:
            return run(program, *arguments, *((device.node,) if kind != "LVM2_member" else ()))
    return None


_TOOLS = (
    # an array begins with its last member; --run is not given, since others may still come
    ("linux_raid_member", "mdadm", ("--incremental", "--quiet")),
    # no udev: LVM makes the nodes itself. Groups that are not whole yet are left alone until they are
    ("LVM2_member", "lvm", ("vgchange", "--activate", "y", "--noudevsync", "--quiet")),
)
