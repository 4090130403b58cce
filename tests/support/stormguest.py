"""What the tests of storms and faults put into their guest: scripts that forge, listen, kill and trigger."""

from pathlib import Path

# Sends to group 1 what the kernel would: as root, byte by byte the same; then things that nobody should send.
FORGE = """\
import sys
from _socket import socket
from posix import setuid
if sys.argv[1:] == ["nobody"]:
    setuid(65534)
forger = socket(16, 2, 15)
event = b"add@/devices/forged\\0ACTION=add\\0DEVPATH=/devices/forged\\0SUBSYSTEM=pci\\0MODALIAS=%s\\0SEQNUM=1\\0"
good = event % b"pci:v000010ECd00008139sv00001AF4sd00001100bc02sc00i00"
for data in (good, good[:-1], b"x", bytes(65536), b"A" * 65536, b"libudev\\0" + good, event % (b"x" * 100000)):
    try:
        forger.sendto(data, (0, 1))
        print("sent")
    except OSError as e:
        print(e.strerror)
"""

# libudev's view, through pyudev, with a filter that libudev puts into the kernel.
MONITOR = """\
import sys
sys.path.insert(0, "/usr/lib/modaliasd")
import ctypes.util
ctypes.util.find_library = lambda name: f"lib{name}.so.1"
import pyudev
monitor = pyudev.Monitor.from_netlink(pyudev.Context(), source="udev")
if sys.argv[1:]:
    monitor.filter_by(*sys.argv[1:])
monitor.start()
print("listening", flush=True)
while (device := monitor.poll(timeout=60)) is not None:
    modules = open("/proc/modules").read()
    print(device.action, device.subsystem, device.device_type, device.device_path, "e1000 " in modules, flush=True)
"""

# N synthetic `add` events, as fast as they can be written, over all devices that have a modalias.
STORM = """\
#!/bin/sh
cd /sys/devices
devices=$(find . -name modalias | sed 's,/modalias$,/uevent,')
left=$1
while [ "$left" -gt 0 ]; do
    for uevent in $devices; do
        echo add >"$uevent" && left=$((left - 1))
        [ "$left" -gt 0 ] || break
    done
done
"""

# N times: take modules out so that there is something to load, and kill the daemon a random moment after its start.
KILLS = """\
#!/bin/sh
left=$1
while [ "$left" -gt 0 ]; do
    rmmod virtio_rng virtio_balloon e1000 i6300esb 2>/dev/null
    /usr/lib/storm/storm 40 &
    usleep $((RANDOM % 2000 * 1000))
    kill -9 $(pidof modaliasd) && left=$((left - 1))
    wait
    until pidof modaliasd >/dev/null; do usleep 20000; done
done
"""


def write_overlay(root: Path, policy: str = "") -> Path:
    """Write the overlay's files below `root`."""
    folder = root / "usr" / "lib" / "storm"
    folder.mkdir(parents=True)
    for name, text in {"forge.py": FORGE, "monitor.py": MONITOR, "storm": STORM, "kills": KILLS}.items():
        (folder / name).write_text(text, encoding="utf-8")
        (folder / name).chmod(0o755)
    if policy:
        etc = root / "etc" / "modaliasd"
        etc.mkdir(parents=True)
        (etc / "policy.toml").write_text(policy, encoding="utf-8")
    return root
