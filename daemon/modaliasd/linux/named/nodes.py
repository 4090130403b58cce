"""Makes the nodes in /dev whose opening has the kernel load their modules: what modules.devname names.

devtmpfs makes a node when its driver registers the device; /dev/fuse has to be there before. The kernel then asks for
char-major-10-229 (fs/char_dev.c), an alias of fuse. Where systemd is, `kmod static-nodes` and systemd-tmpfiles do this
(kmod's tools/static-nodes.c), and devtmpfs leaves a node that is there as it is: mode and all.
"""

from __future__ import annotations

import posix
from errno import EEXIST

from modaliasd.core.errors import Problem
from modaliasd.core.kmod.tables import parse_devname
from modaliasd.linux.config import read_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from modaliasd.core.kmod.tables import DeviceNode

NAME = "modules.devname"
USUAL = 0o600  # of kmod static-nodes
# systemd's rules.d/50-udev-default.rules (static_node=) and tmpfiles.d/static-nodes-permissions.conf. What these give
# to a group, as kvm, is root's alone here: the image has no such groups.
MODES = {
    "fuse": 0o666,
    "net/tun": 0o666,
    "vfio/vfio": 0o666,
    "kvm": 0o660,
    "loop-control": 0o660,
    "snd/seq": 0o660,
    "snd/timer": 0o660,
    "vhost-net": 0o660,
    "vhost-vsock": 0o660,
}
_KINDS = {"c": 0o020000, "b": 0o060000}  # S_IFCHR, S_IFBLK


def make_static_nodes(modules_dir: str, dev: str = "/dev") -> list[Problem]:
    """Make the nodes that are not there yet; what could not be made, or is no line of that file, is given."""
    path = f"{modules_dir}/{NAME}"
    try:
        text = read_text(path)
    except FileNotFoundError:
        return []  # no depmod of before 2010, nor a kernel without modules, has it
    except OSError as e:
        return [Problem(path, 0, f"cannot be read: {e.strerror}")]
    nodes, problems = parse_devname(text, path)
    mask = posix.umask(0)
    try:
        for node in nodes:
            try:
                _make(node, dev)
            except OSError as e:
                if e.errno != EEXIST:
                    problems.append(Problem(path, 0, f"cannot make {dev}/{node.path}: {e.strerror}"))
    finally:
        posix.umask(mask)
    return problems


def _make(node: DeviceNode, dev: str) -> None:
    mode = _KINDS[node.kind] | MODES.get(node.path, USUAL)
    number = posix.makedev(node.major, node.minor)
    above = dev
    for part in node.path.split("/")[:-1]:
        above = f"{above}/{part}"
        try:
            posix.mkdir(above, 0o755)
        except FileExistsError:
            continue
    posix.mknod(f"{dev}/{node.path}", mode, number)
