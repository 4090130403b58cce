"""util-linux's setpriv as an overlay, and an inittab that starts the daemon with a few capabilities only.

docs/security.md shows the same line: busybox's setpriv knows no bounding set.
"""

from pathlib import Path

from hostbuild import debs
from hostbuild.image.filetree import FileTree
from hostbuild.image.sources.libraries import Libraries
from tests.support.udevd import write_tree

CAPABILITIES = {
    "net_admin": 12,
    "sys_module": 16,
    "sys_nice": 23,
    "syslog": 34,
}  # include/uapi/linux/capability.h
LINE = (
    "::respawn:/usr/bin/setpriv --inh-caps -all "
    "--bounding-set -all,+net_admin,+sys_module,+sys_nice,+syslog /usr/bin/modaliasd run"
)
_INITTAB = Path(__file__).resolve().parents[2] / "rootfs-overlay" / "etc" / "inittab"
_USUAL = "::respawn:/usr/bin/modaliasd run"
_GROUP = "setpriv"


def write_setpriv(directory: Path) -> Path:
    """Fill `directory` with setpriv, what it links against, and the inittab; gives it."""
    [package] = debs.describe(["util-linux"])
    root = debs.require_unpacked(package)
    tree = FileTree()
    program = root / "usr/bin/setpriv"
    tree.file("usr/bin/setpriv", program, group=_GROUP, origin="util-linux", permissions=0o755)
    Libraries().put(tree, [program], group=_GROUP)
    write_tree(tree, directory)
    usual = _INITTAB.read_text(encoding="utf-8")
    assert _USUAL in usual
    (directory / "etc").mkdir(exist_ok=True)
    (directory / "etc" / "inittab").write_text(usual.replace(_USUAL, LINE), encoding="utf-8")
    return directory
