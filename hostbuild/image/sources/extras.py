"""What an image can have besides: `hostbuild make-image --with audit --with network`.

audit: pyudev with libudev and ctypes, for `modaliasd audit`.
root: what finds and mounts a root file system (docs/root.md); rootfs.py has what that consists of.
md, lvm, luks, fsck: mdadm, lvm, cryptsetup, e2fsck and fsck.fat, which are run where the image has `root`, too.
network: the helper `micronetd` with the parts of pyroute2 that it uses, and init's script starts it (docs/network.md).

Packages come from the environment that hostbuild runs in and lie beside the daemon, which is where the interpreter
looks; the daemon's boot path imports none of them.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

from hostbuild.apt import OWN, Lists
from hostbuild.debs import Package
from hostbuild.image.filetree import FileTree
from hostbuild.image.sources import tools as debian
from hostbuild.image.sources.cpython import Interpreter
from hostbuild.image.sources.daemon import LIBRARY, start_script
from hostbuild.image.sources.packages import Brought, Wanted, bring, paths


class Extra(Enum):
    """Something that an image has when it is asked for."""

    AUDIT = "audit"
    NETWORK = "network"
    ROOT = "root"
    MD = "md"
    LVM = "lvm"
    LUKS = "luks"
    FSCK = "fsck"


@dataclass(frozen=True, slots=True)
class _Recipe:
    """What an extra consists of.

    libraries: shared libraries by soname, which the packages load themselves. programs: name in /usr/bin -> the module
    whose main() it runs. tools: programs of Debian's packages.
    """

    wanted: Wanted = field(default_factory=lambda: Wanted(modules=(), packages=()))
    libraries: tuple[str, ...] = ()
    programs: tuple[tuple[str, str], ...] = ()
    tools: tuple[debian.Tool, ...] = ()


# pyroute2's own __init__ imports all that it has, netfilter, Wi-Fi, a database: 180 modules, and sqlite. The helper
# names the modules that it needs.
_NO_PYROUTE2_INIT = b""
# Messages of pyroute2's own, for HTTPS probes: the one part of its rtnetlink that cannot be imported without ssl.
_NO_PROBES = b"""
from pyroute2.netlink import nlmsg
from pyroute2.netlink.exceptions import NetlinkError
class probe_msg(nlmsg):
    __slots__ = ()
def proxy_newprobe(msg):
    raise NetlinkError(95, "this image has no probes")
"""

_RECIPES = {
    Extra.AUDIT: _Recipe(Wanted(modules=("pyudev",), packages=("pyudev",)), libraries=("libudev.so.1",)),
    Extra.NETWORK: _Recipe(
        Wanted(
            modules=("micronetd.helper",),
            packages=("micronetd", "pyroute2"),
            replaced={"pyroute2": _NO_PYROUTE2_INIT, "pyroute2.netlink.rtnl.probe_msg": _NO_PROBES},
            # asyncio, hashlib and shutil use these where they are there, and do without. Nothing here is encrypted;
            # ssl and _hashlib would bring 5 MiB of OpenSSL.
            without=frozenset({"ssl", "_hashlib", "bz2", "lzma"}),
        ),
        programs=(("micronetd", "micronetd.helper"),),
    ),
    Extra.ROOT: _Recipe(),
    Extra.MD: _Recipe(tools=(debian.MDADM,)),
    Extra.LVM: _Recipe(tools=(debian.LVM,)),
    Extra.LUKS: _Recipe(tools=(debian.CRYPTSETUP,)),
    Extra.FSCK: _Recipe(tools=(debian.E2FSCK, debian.FSCK_FAT)),
}
_OURS = "micronetd"  # carried in this project's own distribution


def require_packages(extras: Iterable[Extra], interpreter: Interpreter) -> dict[Extra, Brought]:
    """Collect what the extras consist of, and what that needs of the standard library."""
    return {extra: bring(_RECIPES[extra].wanted, interpreter.find, interpreter.imported) for extra in extras}


def put_extra(
    tree: FileTree, extra: Extra, brought: Brought, interpreter: Interpreter, lists: Lists = OWN
) -> list[Package]:
    """Put what belongs to `extra` into the image, the standard library apart; give the packages of its tools."""
    recipe, group = _RECIPES[extra], extra.value
    jobs = [(source, f"/{LIBRARY}/{path}") for source, path in paths(brought.modules.items())]
    for (_, name), code in zip(jobs, interpreter.compile(jobs), strict=True):
        package = name.removeprefix(f"/{LIBRARY}/").partition("/")[0]
        tree.file(name[1:] + "c", code, group=group, origin=_origin(package))
    interpreter.libraries.put(tree, [], group=group, loaded=recipe.libraries)
    for program, module in recipe.programs:
        script = start_script(interpreter, module)
        tree.file(f"usr/bin/{program}", script, group=group, origin="modaliasd", permissions=0o755)
    return debian.put_tools(tree, recipe.tools, interpreter.libraries, lists, group=group)


def _origin(package: str) -> str:
    from importlib.metadata import version

    return "modaliasd" if package == _OURS else f"{package} {version(package)}"
