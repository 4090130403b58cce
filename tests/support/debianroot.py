"""A Debian with systemd and udevd on a disk, and what boots it: for what modaliasd does on a full system.

The Debian is debootstrap's smallest with systemd, udev, kmod and python3, kept as a tar file in hostbuild's
cache; the first use takes a minute and root. Its kernel is Debian's, whole, with depmod's lists. An initramfs of one
script loads what the disk needs, and has Debian's init do the rest.
"""

import fcntl
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from hostbuild.debs import cache_directory
from hostbuild.formats.initramfs.newc import Member, Writer
from hostbuild.kernels.kernel import Kernel
from hostbuild.run import find_program
from modaliasd.core.kmod.modules_dep import Dependencies
from scripts import bare_settings as settings
from tests.support.kernelfiles import builtin_names, plain_module
from tests.support.programs import require_program

RELEASE = "bookworm"
LABEL = "debian-root"
ENABLE = "debian.enable="  # before a unit's name: systemctl enable
REPLACE = (
    "debian.without-udevs-loading"  # a word for the kernel's command line: our rules hide udev's loading rule
)
PACKAGES = ("systemd-sysv", "udev", "kmod", "python3")
_DISK = ("virtio_pci", "virtio_blk", "crc32c_generic", "ext4")  # what the initramfs has to load
_PROJECT = Path(__file__).resolve().parents[2]
_SIZE = "1500M"  # of the file system; the file is sparse
_TIME_LIMIT = 900

_INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /root
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
for module in /modules/*.ko; do insmod $module; done
tries=0
until disk=$(findfs LABEL=%s) || [ $tries = 50 ]; do sleep 0.1; tries=$((tries + 1)); done
mount -t ext4 -o rw "$disk" /root || exec sh
wants=/root/etc/systemd/system/sysinit.target.wants
mkdir -p $wants
rm -f $wants/modaliasd* /root/etc/udev/rules.d/80-drivers.rules
for word in $(cat /proc/cmdline); do
    case $word in
    %s*) ln -s /usr/lib/systemd/system/${word#*=} $wants/ ;;
    %s) cp /80-drivers.rules /root/etc/udev/rules.d/ ;;
    esac
done
for place in proc sys dev; do mount --move /$place /root/$place; done
exec switch_root /root /sbin/init
"""
# The host's way in, as in hostbuild's images (rootfs-overlay/usr/lib/micro/agent).
_AGENT = """[Unit]
After=multi-user.target
[Service]
ExecStart=/bin/sh -c 'exec </dev/ttyS2 >/dev/ttyS2 2>/dev/null; stty raw -echo; exec sh /dev/ttyS2'
[Install]
WantedBy=multi-user.target
"""
_PROGRAM = "#!/usr/bin/python3 -IS\nimport sys\nsys.path.insert(0, '/usr/lib/modaliasd')\n"
_PROGRAM += "from modaliasd.cli import main\nsys.exit(main())\n"


def require_tar() -> Path:
    """Give the tar file of the Debian. Skips the test where it cannot be made."""
    home = cache_directory() / "bare"
    home.mkdir(exist_ok=True)
    tar = home / f"{RELEASE}-systemd.tar"
    with (home / "systemd.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not tar.exists():
            _make(home, tar)
    return tar


def _program(name: str, package: str) -> str:
    found = find_program(name)
    if found is None:
        pytest.skip(f"{name} is not installed: it is in the package {package}")
    return found


def _make(home: Path, tar: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("debootstrap needs root")
    debootstrap = _program("debootstrap", "debootstrap, of debian-packages-bare.txt")
    said = subprocess.run(
        ["apt-get", "indextargets", "--format", settings.TARGET_FORMAT], capture_output=True, check=True
    ).stdout.decode()
    mirror = settings.mirror_of(settings.parse_targets(said, RELEASE), RELEASE)
    if mirror is None:
        pytest.skip("apt has no Debian archive among its sources")
    (home / "debs").mkdir(exist_ok=True)
    root = home / "systemd-root"
    shutil.rmtree(root, ignore_errors=True)
    words = [debootstrap, "--variant=minbase", f"--include={','.join(PACKAGES)}"]
    words += [f"--cache-dir={home / 'debs'}", f"--keyring={settings.KEYRING}", RELEASE, str(root), mirror]
    done = subprocess.run(words, capture_output=True, text=True, timeout=_TIME_LIMIT, check=False)
    if done.returncode:
        shutil.rmtree(root, ignore_errors=True)
        pytest.skip(f"debootstrap cannot make a Debian here: {done.stdout[-300:]}{done.stderr[-300:]}")
    half = tar.with_suffix(".half")
    excluded = [
        "--exclude=./var/cache/apt/*",
        "--exclude=./usr/share/doc/*",
        "--exclude=./usr/share/locale/*",
    ]
    subprocess.run(["tar", "-C", root, "--numeric-owner", *excluded, "-cf", half, "."], check=True)
    half.rename(tar)
    shutil.rmtree(root)


def make_debian(directory: Path, kernel: Kernel) -> tuple[Path, Path]:
    """Make the disk in `directory`: the Debian, the kernel's modules, the daemon, its services; give (disk, initrd).

    None of its services is enabled: ENABLE and a unit on the kernel's command line do that.
    """
    if os.geteuid() != 0:
        pytest.skip("a file system whose files are root's is root's to make")
    mke2fs, tar = _program("mke2fs", "e2fsprogs"), require_tar()
    root = directory / "root"
    root.mkdir()
    try:
        subprocess.run(["tar", "-C", root, "--numeric-owner", "-xpf", tar], check=True)
        assert kernel.modules is not None
        modules = root / "usr/lib/modules" / kernel.version
        shutil.copytree(kernel.modules, modules)
        subprocess.run([require_program("depmod"), "-b", root / "usr", kernel.version], check=True)
        _install(root)
        disk = directory / "debian.ext4"
        words: list[str | Path] = [
            mke2fs,
            "-q",
            "-t",
            "ext4",
            "-L",
            LABEL,
            "-O",
            "^metadata_csum",
            "-d",
            root,
            disk,
            _SIZE,
        ]
        subprocess.run(words, check=True, timeout=_TIME_LIMIT)
        return disk, _write_initrd(directory / "initrd", kernel, (modules / "modules.dep").read_text())
    finally:
        shutil.rmtree(root)


def _install(root: Path) -> None:
    """Install the daemon as a package would, and the agent."""
    skipped = shutil.ignore_patterns("__pycache__")
    shutil.copytree(_PROJECT / "daemon/modaliasd", root / "usr/lib/modaliasd/modaliasd", ignore=skipped)
    program = root / "usr/bin/modaliasd"
    program.write_text(_PROGRAM)
    program.chmod(0o755)
    system = root / "etc/systemd/system"
    for unit in (_PROJECT / "daemon/services/systemd").iterdir():
        shutil.copy(unit, root / "usr/lib/systemd/system" / unit.name)
    (system / "agent.service").write_text(_AGENT)
    wants = system / "multi-user.target.wants"
    wants.mkdir(exist_ok=True)
    (wants / "agent.service").symlink_to("/etc/systemd/system/agent.service")
    (root / "etc/fstab").write_text(f"LABEL={LABEL} / ext4 defaults 0 0\n")
    (root / "etc/machine-id").write_text("")


def _write_initrd(path: Path, kernel: Kernel, modules_dep: str) -> Path:
    """Write the initramfs: busybox, a script, and the modules that the disk needs, in order."""
    listed = Dependencies(modules_dep)
    order: dict[str, None] = {}
    for module in (name for name in _DISK if name not in builtin_names(kernel)):
        order |= dict.fromkeys(listed.load_order(module).modules)
    members = [("bin/busybox", 0o755, Path(require_program("busybox")).read_bytes())]
    members.append(("init", 0o755, (_INIT % (LABEL, ENABLE, REPLACE)).encode()))
    members.append(
        ("80-drivers.rules", 0o644, (_PROJECT / "daemon/services/udev/80-drivers.rules").read_bytes())
    )
    for number, module in enumerate(order):
        file = listed.find(module)
        assert file is not None, f"this kernel has no module {module}"
        stem = file.path.rpartition("/")[2].partition(".ko")[0]
        members.append((f"modules/{number:02}-{module}.ko", 0o644, plain_module(kernel, stem)))
    with path.open("wb") as out:
        archive = Writer(out.write)
        for ino, folder in enumerate(("bin", "dev", "modules"), 1):
            archive.add(Member(folder, stat.S_IFDIR | 0o755, ino=ino, nlink=2))
        archive.add(Member("dev/console", stat.S_IFCHR | 0o600, ino=9, device=(5, 1)))
        for ino, (name, mode, data) in enumerate(members, 10):
            archive.add(Member(name, stat.S_IFREG | mode, ino=ino), data)
        archive.close()
    return path
