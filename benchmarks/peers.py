"""Images of other builders, for the same kernel: what our figures stand beside.

Each is made in a bare Debian (scripts/bare_root.py) that has nothing but debootstrap's smallest, the builder's packages
and the kernel: never by this machine's own dracut, whose result depends on what is installed here. That takes root, and
a few minutes; the images are kept in hostbuild's cache under a digest of all that they are made of: the recipe, the
kernel, and the packages' versions.

The kernel is the package that our images have, laid into place, with depmod's lists. /sys is not mounted: no image
depends on this machine's hardware.
"""

import hashlib
import json
import os
import resource
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hostbuild import debs
from hostbuild.apt import Lists
from hostbuild.errors import CommandError, HostbuildError, InputError, WorldError
from hostbuild.formats.initramfs.archive import open_image
from hostbuild.fs import sealed
from hostbuild.fs.scratch import scratch_directory
from hostbuild.kernels.kernel import Kernel
from hostbuild.run import run
from scripts import bare_root

_TIME_LIMIT = 1800.0  # seconds for each command in the Debian
_IMAGE = "/image.img"
_NODES = ("null", "zero", "full", "random", "urandom", "tty")
_REPORT = "made.json"
_MODULE = "benchmarks.peers"  # this program calls itself

# Run by the image's own means once udev has been told of all devices, and before the root file system is mounted. It
# does nothing unless the kernel's command line asks for it.
SETTLED_WORD, SETTLED = "bench.settled", "bench: settled"
_HOOK = f"""case $(cat /proc/cmdline) in *{SETTLED_WORD}*)
    udevadm settle
    echo '<2>{SETTLED}' >/dev/kmsg
    echo b >/proc/sysrq-trigger ;;
esac
"""
_DRACUT = ("dracut-core", "systemd-sysv", "udev", "zstd", "e2fsprogs")
_MKINITRAMFS = ("initramfs-tools-core", "udev", "zstd", "busybox", "e2fsprogs")
_LISTED = "virtio_pci\nvirtio_blk\nvirtio_net\next4\n"
_INCLUDE = ("--include", "/bench/99-bench.sh", "/lib/dracut/hooks/pre-mount/99-bench.sh")
_DRACUT_FILES = {"/bench/99-bench.sh": f"#!/bin/sh\n{_HOOK}"}
_MKINITRAMFS_FILES = {
    "/etc/initramfs-tools/scripts/init-premount/bench": f'#!/bin/sh\n[ "$1" != prereqs ] || exit 0\n{_HOOK}'
}
_MKOSI = ("mkosi", "systemd-sysv", "udev", "zstd", "kmod", "cpio", "e2fsprogs")
_UNITS = "/etc/mkosi-initrd/mkosi.extra/usr/lib/systemd/system"
_MKOSI_FILES = {
    "/usr/lib/firmware/README": "mkosi-initrd does without firmware, and not without its directory.\n",
    # by itself it takes what /sys names
    "/etc/mkosi-initrd/mkosi.conf": "[Content]\nKernelModulesInclude=default\n",
    "/etc/mkosi-initrd/mkosi.extra/usr/lib/bench": f"#!/bin/sh\n{_HOOK}",
    f"{_UNITS}/initrd-root-fs.target.d/bench.conf": "[Unit]\nWants=bench.service\n",
    f"{_UNITS}/bench.service": f"""[Unit]
DefaultDependencies=no
ConditionKernelCommandLine={SETTLED_WORD}
After=systemd-udev-trigger.service initrd-root-device.target
Before=sysroot.mount initrd-root-fs.target
[Service]
Type=oneshot
ExecStart=/usr/lib/bench
""",
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """How an image is made.

    packages: what the bare Debian gets. argv: the command; {version} is the kernel's, {image} where its result is to
    be. files: what is written before, by path; what begins with #! is executable.
    """

    name: str
    packages: tuple[str, ...]
    argv: tuple[str, ...]
    files: Mapping[str, str] = field(default_factory=dict)
    release: str = "bookworm"


@dataclass(frozen=True, slots=True)
class PeerImage:
    """An image that was made. cpu_s: what its builder took, seconds of CPU time. modules: how many files it has."""

    name: str
    path: Path
    cpu_s: float
    modules: int


RECIPES = (
    Recipe(
        "dracut, generic",
        _DRACUT,
        ("dracut", "--force", "--no-hostonly", *_INCLUDE, "{image}", "{version}"),
        _DRACUT_FILES,
    ),
    Recipe(
        "dracut, host-only, told of virtio and ext4",
        _DRACUT,
        (
            *("dracut", "--force", "--hostonly", "--no-hostonly-cmdline", "--no-hostonly-default-device"),
            *("--filesystems", "ext4", "--add-drivers", "virtio_pci virtio_blk virtio_net"),
            *(*_INCLUDE, "{image}", "{version}"),
        ),
        _DRACUT_FILES,
    ),
    Recipe(
        "mkinitramfs, MODULES=most",
        _MKINITRAMFS,
        ("mkinitramfs", "-o", "{image}", "{version}"),
        {**_MKINITRAMFS_FILES, "/etc/initramfs-tools/conf.d/modules": "MODULES=most\n"},
    ),
    Recipe(
        "mkinitramfs, MODULES=list",
        _MKINITRAMFS,
        ("mkinitramfs", "-o", "{image}", "{version}"),
        {
            **_MKINITRAMFS_FILES,
            "/etc/initramfs-tools/conf.d/modules": "MODULES=list\n",
            "/etc/initramfs-tools/modules": _LISTED,
        },
    ),
    Recipe(
        "mkosi-initrd of Debian 13",
        _MKOSI,
        ("mkosi-initrd", "--kernel-version", "{version}", "--output", "image.img", "--output-dir", "/"),
        _MKOSI_FILES,
        "trixie",
    ),
)


def require_images(kernel: Kernel, recipes: Sequence[Recipe] = RECIPES) -> list[PeerImage]:
    """Give the images, made where they are not kept; one that its builder fails to make is told, and left out.

    Raises HostbuildError where none can be made here.
    """
    cache = debs.cache_directory() / "peers"
    cache.mkdir(exist_ok=True)
    places = {recipe.name: cache / _key(recipe, kernel) for recipe in recipes}
    missing = [recipe for recipe in recipes if sealed.find(places[recipe.name]) is None]
    for world in dict.fromkeys((recipe.release, recipe.packages) for recipe in missing):
        _make([recipe for recipe in missing if (recipe.release, recipe.packages) == world], kernel, places)
    there = [recipe.name for recipe in recipes if places[recipe.name].is_dir()]
    return [_read(name, sealed.root_of(places[name])) for name in there]


def _key(recipe: Recipe, kernel: Kernel) -> str:
    """Return a digest of all that the image is made of."""
    packages = debs.describe(recipe.packages, Lists(recipe.release))
    parts = [asdict(recipe), kernel.version, kernel.sha256, [package.sha256 for package in packages]]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _read(name: str, root: Path) -> PeerImage:
    image = root / Path(_IMAGE).name
    paths = [path for path, _ in open_image(image).require_whole().root.walk()]
    modules = sum(".ko" in path.rpartition("/")[2] for path in paths)
    return PeerImage(name, image, json.loads((root / _REPORT).read_text())["cpu_s"], modules)


def _make(recipes: Sequence[Recipe], kernel: Kernel, places: Mapping[str, Path]) -> None:
    """Make images whose Debian is the same."""
    if os.geteuid() != 0:
        raise WorldError(
            "only root may make a bare Debian, which other builders' images are made in",
            hint="run it as root, once: the images are kept",
        )
    bare_root.require_namespaces()
    first = recipes[0]
    base = bare_root.require_base(bare_root.home_directory(), first.release, fresh=False)
    sys.stderr.write(f"making {' and '.join(recipe.name for recipe in recipes)} in a bare {first.release}\n")
    cache = places[first.name].parent
    with scratch_directory(cache) as directory:
        root, order = directory / "debian", directory / "order.json"
        root.mkdir(mode=0o755)
        run(["tar", "-C", root, "--numeric-owner", "-xpf", base], timeout=600)
        shown = bare_root.copy_settings(root, first.release)
        _lay(kernel, root)
        made = {recipe.name: directory / str(number) for number, recipe in enumerate(recipes)}
        rows = [{**asdict(recipe), "directory": str(sealed.root_of(made[recipe.name]))} for recipe in recipes]
        order.write_text(
            json.dumps({"version": kernel.version, "shown": [str(path) for path in shown], "recipes": rows})
        )
        inside = [sys.executable, "-m", _MODULE, str(root), str(order)]
        done = run([*bare_root.OWN_WORLD, *inside], timeout=2 * _TIME_LIMIT)
        sys.stderr.write(done.stderr.decode(errors="replace"))
        for name, complete in made.items():
            if complete.is_dir():
                sealed.publish(complete, places[name])


def _lay(kernel: Kernel, root: Path) -> None:
    """Put the kernel where its package would."""
    if kernel.modules is None or kernel.config is None:
        raise InputError(f"the kernel {kernel.origin} has no modules, or no configuration")
    (root / "boot").mkdir(exist_ok=True)
    shutil.copy(kernel.vmlinuz, root / f"boot/vmlinuz-{kernel.version}")
    shutil.copy(kernel.config, root / f"boot/config-{kernel.version}")
    shutil.copytree(kernel.modules, root / "usr/lib/modules" / kernel.version, symlinks=True)


def _inside(root: Path, order: Mapping[str, Any]) -> None:
    """Make the images, as process 1 of the Debian's namespaces."""
    _mount(root, [Path(path) for path in order["shown"]])
    packages: list[str] = order["recipes"][0]["packages"]
    apt = ["apt-get", "-q", "-y", "--no-install-recommends", "-o", "Dpkg::Options::=--force-confold"]
    quietly = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    for words in (["apt-get", "-q", "update"], [*apt, "install", *packages], ["depmod", order["version"]]):
        run(["chroot", root, *words], timeout=_TIME_LIMIT, env=quietly)
    for recipe in order["recipes"]:
        for path, text in recipe["files"].items():
            file = root / path.removeprefix("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            file.chmod(0o755 if text.startswith("#!") else 0o644)
        words = [word.format(version=order["version"], image=_IMAGE) for word in recipe["argv"]]
        before = children_s()
        try:
            run(["chroot", root, *words], timeout=_TIME_LIMIT, env=quietly)
        except CommandError as e:
            sys.stderr.write(f"left out, {recipe['name']}: {e}\n")
            continue
        taken = children_s() - before
        directory = Path(recipe["directory"])
        directory.mkdir(parents=True)
        shutil.move(root / _IMAGE.removeprefix("/"), directory)
        (directory / _REPORT).write_text(json.dumps({"cpu_s": taken}))


def _mount(root: Path, shown: Sequence[Path]) -> None:
    """Mount what programs expect; no /sys, which would tell them of this machine."""
    run(["mount", "--bind", root, root], timeout=20)  # mkosi makes mounts below /, which has to be one
    run(["mount", "-t", "proc", "proc", root / "proc"], timeout=20)
    run(["mount", "-t", "tmpfs", "-o", "mode=755", "dev", root / "dev"], timeout=20)
    for name in _NODES:
        (root / "dev" / name).touch()
        run(["mount", "--bind", Path("/dev", name), root / "dev" / name], timeout=20)
    (root / "dev/fd").symlink_to("/proc/self/fd")
    for path in shown:
        run(["mount", "--bind", path, root / path.relative_to("/")], timeout=20)


def children_s() -> float:
    """Return the CPU time of all children that have ended, seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":  # in namespaces of its own
    try:
        _inside(Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text()))
    except HostbuildError as error:
        sys.exit(f"{error}")
