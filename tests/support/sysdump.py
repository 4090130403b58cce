"""A witness in the guest: dumps /sys in the form of a umockdev recording, with no code of the project's.

It reads modaliases from the `modalias` files where they are, drivers and subsystems from the links.
"""

from pathlib import Path

from hostbuild.predict.capture import Capture, parse_umockdev
from hostbuild.qemu.vm import VM

_PROGRAM = """
import os
def link(path):
    try:
        return os.readlink(path).rpartition("/")[2]
    except OSError:
        return ""
def text(path):
    try:
        return open(path, errors="surrogateescape").read().strip()
    except OSError:
        return ""
for parent, below, files in os.walk("/sys/devices"):
    if "uevent" not in files or not (link(parent + "/subsystem") or "modalias" in files):
        continue
    out = ["P: " + parent[4:]]
    for line in text(parent + "/uevent").splitlines():
        out.append("E: " + line)
    out.append("E: SUBSYSTEM=" + link(parent + "/subsystem"))
    if text(parent + "/modalias"):
        out.append("A: modalias=" + text(parent + "/modalias"))
    if link(parent + "/driver"):
        out.append("L: driver=../../" + link(parent + "/driver"))
    print("\\n".join(out) + "\\n")
"""


def dump(vm: VM) -> str:
    """The guest's /sys as a recording."""
    return vm.check(f"/usr/bin/python3 -I -S - <<'END'\n{_PROGRAM}\nEND\n", timeout=60)


def dump_capture(vm: VM) -> Capture:
    """The same, read."""
    return parse_umockdev(dump(vm))


MACHINES = Path(__file__).resolve().parents[1] / "data" / "machines"
