"""`hostbuild check` on real images that are broken in one place each: every break is found, and a whole image is clean.

tests/vm/test_check_vm.py boots some of them, to see that it mattered.
"""

import lzma
import stat
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from hostbuild.check.finding import Finding, Level
from hostbuild.check.kernel import read_kernel
from hostbuild.check.read import view_image
from hostbuild.check.rules import check, works
from hostbuild.check.view import NO_LIMITS, KernelFacts, Limits
from hostbuild.formats.initramfs.archive import open_image
from hostbuild.formats.manifest import read_manifest
from hostbuild.image.build import BuiltImage, ImageOptions, Modprobe, build_image
from hostbuild.image.modules.storage import Store
from hostbuild.ui import Silent
from modaliasd.core.index.format import HEADER_SIZE
from modaliasd.core.loading.signature import MARK
from tests.support.breakage import Part, Parts, read_parts, without_line, write_parts

pytestmark = pytest.mark.slow  # each test checks a whole image

KERNEL = "deb:linux-image-amd64"
MODULES = "virtio,fuse,loop,ext4,xhci_pci,usb_storage"


@dataclass
class Case:
    """What is checked. append: words for the kernel. facts: the kernel."""

    parts: Parts
    facts: KernelFacts
    append: str = ""
    limits: Limits = NO_LIMITS


@pytest.fixture(scope="module")
def facts() -> KernelFacts:
    """Debian's kernel, as check reads it."""
    return read_kernel(KERNEL, Silent())[1]


@pytest.fixture(scope="module")
def busybox_image(tmp_path_factory: pytest.TempPathFactory) -> BuiltImage:
    """An image with busybox's modprobe."""
    return build_image(
        tmp_path_factory.mktemp("check") / "b.img", ImageOptions(kernel=KERNEL, modules=MODULES)
    )


@pytest.fixture(scope="module")
def kmod_image(tmp_path_factory: pytest.TempPathFactory) -> BuiltImage:
    """An image with kmod's, and modules that it unpacks."""
    options = ImageOptions(kernel=KERNEL, modules=MODULES, modprobe=Modprobe.KMOD, store=Store.XZ)
    return build_image(tmp_path_factory.mktemp("check") / "k.img", options)


@pytest.fixture(scope="module")
def busybox_parts(busybox_image: BuiltImage) -> Parts:
    return read_parts(busybox_image.image)


@pytest.fixture(scope="module")
def kmod_parts(kmod_image: BuiltImage) -> Parts:
    return read_parts(kmod_image.image)


def found_in(case: Case, path: Path) -> list[Finding]:
    """Check what the parts become."""
    image = open_image(write_parts(path, case.parts))
    return check(view_image(image, case.facts, {}, case.append, case.limits))


@pytest.mark.parametrize("which", ["busybox_image", "kmod_image"])
def test_a_whole_image_has_no_finding(
    which: str, facts: KernelFacts, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Not even a note; nor has one that was taken apart and put together, so what is found below is the break."""
    built: BuiltImage = request.getfixturevalue(which)
    view = view_image(open_image(built.image), facts, read_manifest(built.image))
    assert check(view) == []
    assert found_in(Case(read_parts(built.image), facts), tmp_path / "x.img") == []


def without_what_unpacks(case: Case) -> None:
    """Take xz's library away; and the kernel's own way, which Debian's has since 6.10."""
    case.parts.remove("/liblzma.so.5")
    case.facts = replace(case.facts, config={**(case.facts.config or {}), "MODULE_DECOMPRESS": "n"})


def data(end: str, change: Callable[[bytes], bytes]) -> Callable[[Case], None]:
    return lambda case: case.parts.change(end, change)


def gone(end: str) -> Callable[[Case], None]:
    return lambda case: case.parts.remove(end)


def put(path: str, content: bytes, mode: int = 0o644) -> Callable[[Case], None]:
    return lambda case: case.parts.put(path, content, mode)


def words(append: str) -> Callable[[Case], None]:
    def change(case: Case) -> None:
        case.append = append

    return change


def swap(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    return lambda content: content.replace(old, new, 1)


def mode(path: str, permissions: int) -> Callable[[Case], None]:
    def change(case: Case) -> None:
        part = case.parts[path]
        case.parts[path] = replace(part, mode=stat.S_IFMT(part.mode) | permissions)

    return change


def node(path: str, part: Part) -> Callable[[Case], None]:
    def change(case: Case) -> None:
        for below in [one for one in case.parts if one.startswith(path + "/")]:
            del case.parts[below]
        case.parts[path] = part

    return change


def unsigned(content: bytes) -> bytes:
    """Cut a module's signature: behind it stand 12 bytes, the last four of which are its length, and a line."""
    end = len(content) - len(MARK) - 12
    return content[: end - int.from_bytes(content[end + 8 : end + 12], "big")]


def not_signed(case: Case) -> None:
    case.parts.change("/virtio_net.ko", unsigned)
    case.append = "module.sig_enforce"


def compressed(case: Case) -> None:
    """A module of another tree, packed, with its line in modules.dep."""
    path = case.parts.find("/virtio_net.ko")
    part = case.parts.pop(path)
    case.parts[path + ".xz"] = replace(part, data=lzma.compress(part.data, check=lzma.CHECK_CRC32))
    case.parts.change("/modules.dep", swap(b"/virtio_net.ko:", b"/virtio_net.ko.xz:"))


def other_kernel(case: Case) -> None:
    case.facts = replace(case.facts, version="6.1.0-1-other")


def too_large(case: Case) -> None:
    case.limits = Limits(max_size=1 << 20)


def too_little(case: Case) -> None:
    case.limits = Limits(memory=64, needed=200, needed_for="it has to fit")


def to_arm(content: bytes) -> bytes:
    return content[:18] + (183).to_bytes(2, "little") + content[20:]


def other_checksum(content: bytes, symbol: bytes = b"register_virtio_driver") -> bytes:
    """Change a checksum in __versions: the eight bytes before the name. Since 6.9 this symbol begins with __."""
    names = [name.ljust(56, b"\0") for name in (symbol, b"__" + symbol)]
    at = next(content.index(name) for name in names if name in content)
    return content[: at - 8] + b"\x01\x02\x03\x04" + content[at - 4 :]


def other_symbol(content: bytes) -> bytes:
    """Rename an undefined symbol, in .strtab, which is behind all else."""
    at = content.rindex(b"\0virtqueue_add_outbuf\0")
    return content[: at + 1] + b"x" + content[at + 2 :]


def dep_without_needs(content: bytes) -> bytes:
    start = content.index(b"/virtio_net.ko:") + len(b"/virtio_net.ko:")
    return content[:start] + content[content.index(b"\n", start) :]


def dep_circle(content: bytes) -> bytes:
    """A module needs one that needs it."""
    lines = content.split(b"\n")
    path = next(line for line in lines if b"/virtio_net.ko:" in line).partition(b":")[0]
    return content.replace(b"/net_failover.ko:", b"/net_failover.ko: " + path + b" ", 1)


def flipped(content: bytes) -> bytes:
    at = HEADER_SIZE + 1000
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def no_loader(case: Case) -> None:
    for path in [path for path in case.parts if path.endswith("/ld-linux-x86-64.so.2")]:
        del case.parts[path]


def no_need(case: Case) -> None:
    """A module, and its line, that another needs."""
    case.parts.remove("/net_failover.ko")
    case.parts.change("/modules.dep", lambda content: without_module(content, b"/net_failover.ko"))


def unusable_interpreter(case: Case) -> None:
    case.parts.put("usr/lib/micro/run", b"#!/bin/sh\n", 0o644)
    case.parts.put("usr/bin/hello", b"#!/usr/lib/micro/run\n", 0o755)


def no_magic(case: Case) -> None:
    case.facts = replace(case.facts, config={**(case.facts.config or {}), "MODULE_FORCE_LOAD": "n"})
    case.parts.change("/virtio_net.ko", swap(b"\0vermagic=", b"\0xermagic="))


def without_module(content: bytes, name: bytes) -> bytes:
    """Take out all lines that name a module."""
    return b"\n".join(line for line in content.split(b"\n") if name not in line)


def empty(_content: bytes) -> bytes:
    return b""


def not_found(_content: bytes) -> bytes:
    return b"404 Not Found\n"


FILE, CHARACTER = stat.S_IFREG | 0o644, stat.S_IFCHR | 0o600
BREAKS: dict[str, tuple[str, Callable[[Case], None]]] = {
    "no init": ("init-missing", lambda case: case.parts.__delitem__("init")),
    "init is not executable": ("init-not-executable", mode("init", 0o644)),
    "init is a directory": ("init-not-a-file", node("init", Part(stat.S_IFDIR | 0o755))),
    "init without #!": ("init-format", lambda case: case.parts.put("init", b"mount -a\n", 0o755)),
    "init of bash": ("interpreter-missing", lambda case: case.parts.put("init", b"#!/bin/bash\n", 0o755)),
    "init edited on Windows": (
        "interpreter-missing",
        lambda case: case.parts.put("init", b"#!/bin/sh\r\n", 0o755),
    ),
    "rdinit names nothing": ("init-missing", words("rdinit=/linuxrc")),
    "console is a file": ("node-wrong", node("dev/console", Part(FILE))),
    "null is another device": ("node-wrong", node("dev/null", Part(CHARACTER, device=(1, 5)))),
    "proc is a file": ("mount-point", node("proc", Part(FILE))),
    "no sys": ("mount-point", node("sys", Part(stat.S_IFLNK | 0o777, b"nowhere"))),
    "a file without its directory": ("member-dropped", node("nowhere/file", Part(FILE))),
    "no daemon": ("part-missing", gone("usr/bin/modaliasd")),
    "no inittab": ("part-missing", gone("etc/inittab")),
    "daemon is not executable": ("part-not-executable", mode("usr/bin/modaliasd", 0o644)),
    "no interpreter of Python": (
        "interpreter-missing",
        lambda case: case.parts.put("usr/bin/modaliasd", b"#!/usr/bin/python9 -I\n", 0o755),
    ),
    "no C library": ("library-missing", gone("/libc.so.6")),
    "no loader": ("loader-missing", no_loader),
    "busybox of another machine": ("program-machine", data("usr/bin/busybox", to_arm)),
    "busybox cut short": ("elf-damaged", data("usr/bin/busybox", lambda content: content[:3000])),
    "link to nowhere": ("link-dangling", node("usr/sbin/hello", Part(stat.S_IFLNK | 0o777, b"/opt/hello"))),
    "script without interpreter": ("interpreter-missing", put("usr/bin/hello", b"#!/usr/bin/perl\n", 0o755)),
    "interpreter cannot be run": ("interpreter-not-executable", unusable_interpreter),
    "env finds nothing": ("interpreter-missing", put("usr/bin/hello", b"#!/usr/bin/env ruby\n", 0o755)),
    "module cut short": (
        "module-unreadable",
        data("/virtio_net.ko", lambda content: content[: len(content) // 2]),
    ),
    "module without .modinfo": (
        "module-unreadable",
        data("/virtio_net.ko", swap(b"\0.modinfo\0", b"\0.modxnfo\0")),
    ),
    "module is a text": ("module-unreadable", data("/virtio_net.ko", not_found)),
    "module of another machine": ("module-machine", data("/virtio_net.ko", to_arm)),
    "module of another kernel": (
        "vermagic",
        data("/virtio_net.ko", swap(b"SMP preempt mod_unload", b"SMP preempt mod_unlaod")),
    ),
    "module without version magic": ("vermagic-missing", no_magic),
    "module of other checksums": ("symbol-version", data("/virtio_net.ko", other_checksum)),
    "module takes what nobody has": ("symbol-unknown", data("/virtio_net.ko", other_symbol)),
    "module packed for busybox": ("module-compressed", compressed),
    "module without signature": ("module-unsigned", not_signed),
    "module gone": ("dep-file-missing", gone("/virtio_net.ko")),
    "needed module gone": ("depends", no_need),
    "modules of another kernel": ("modules-for-another-kernel", other_kernel),
    "no modules.dep": ("index-missing", gone("/modules.dep")),
    "modules.dep lacks a line": (
        "dep-line-missing",
        data("/modules.dep", lambda c: without_module(c, b"/virtio_net.ko:")),
    ),
    "modules.dep names a need without a line": (
        "dep-need-missing",
        data("/modules.dep", swap(b"/virtio_net.ko:", b"/virtio_net.ko: kernel/nowhere.ko")),
    ),
    "modules.dep lacks a need": ("dep-need-unlisted", data("/modules.dep", dep_without_needs)),
    "modules.dep in a circle": ("dep-cycle", data("/modules.dep", dep_circle)),
    "modules.dep cut short": ("index-damaged", data("/modules.dep", lambda c: c + b"kernel/drivers/net/vir")),
    "no modules.alias": ("index-missing", gone("/modules.alias")),
    "modules.alias lacks a line": (
        "alias-missing",
        data("/modules.alias", lambda c: without_line(c, b"alias virtio:d00000001")),
    ),
    "modules.alias names nobody": (
        "alias-vain",
        data("/modules.alias", lambda c: c + b"alias pci:v* nobody\n"),
    ),
    "modules.alias with a bracket": (
        "index-damaged",
        data("/modules.alias", lambda c: c + b"alias pci:v[0 virtio_net\n"),
    ),
    "no modules.builtin": ("index-missing", gone("/modules.builtin")),
    "modules.softdep lacks a line": ("softdep-missing", data("/modules.softdep", empty)),
    "modules.devname lacks a line": ("devname-missing", data("/modules.devname", empty)),
    "modules.devname names nobody": (
        "devname-vain",
        data("/modules.devname", lambda c: c + b"nobody nobody c10:250\n"),
    ),
    "no trie": ("trie-missing", gone("/modules.alias.trie")),
    "trie damaged": ("trie-damaged", data("/modules.alias.trie", flipped)),
    "trie cut short": ("trie-damaged", data("/modules.alias.trie", lambda c: c[:-4])),
    "trie of another modules.alias": ("trie-stale", data("/modules.alias", lambda c: c + b"# later\n")),
    "modprobe.d that is none": ("modprobe-d", put("etc/modprobe.d/x.conf", b"optoins virtio_net a=1\n")),
    "modules-load.d names nobody": ("modules-load", put("etc/modules-load.d/x.conf", b"nobody\n")),
    "policy with a mistake": ("policy", put("etc/modaliasd/policy.toml", b"[[rule]]\nactoin = 'deny'\n")),
    "words that mean nothing": ("command-line", words("modaliasd.lod=virtio_net")),
    "too large": ("too-large", too_large),
    "too little memory": ("too-little-memory", too_little),
}
KMOD_BREAKS: dict[str, tuple[str, Callable[[Case], None]]] = {
    "no modules.dep.bin": ("index-missing", gone("/modules.dep.bin")),
    "modules.dep.bin damaged": ("index-damaged", data("/modules.dep.bin", lambda c: b"\0" + c[1:])),
    "modules.dep.bin of other modules": (
        "index-stale",
        data("/modules.dep.bin", swap(b"net_failover.ko", b"nat_failover.ko")),
    ),
    "modules.alias.bin of other modules": (
        "index-stale",
        data("/modules.alias.bin", swap(b"virtio_net\0", b"virtio_nat\0")),
    ),
    "kmod without what unpacks": ("module-compressed", without_what_unpacks),
    "no kmod": ("part-missing", gone("usr/bin/kmod")),
}


CASES = [*(("busybox_parts", name) for name in BREAKS), *(("kmod_parts", name) for name in KMOD_BREAKS)]


@pytest.mark.parametrize(("which", "name"), CASES)
def test_each_break_is_found(
    which: str, name: str, facts: KernelFacts, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """One change, one finding of its kind at least that is no note, with reason and fix."""
    kind, change = {**BREAKS, **KMOD_BREAKS}[name]
    case = Case(Parts(request.getfixturevalue(which)), facts)
    change(case)
    findings = found_in(case, tmp_path / "x.img")
    assert kind in {one.id for one in findings if one.level is not Level.NOTE}, findings
    assert not works(findings)
    assert all(one.reason and one.fix and one.place for one in findings)


def tolerated(case: Case) -> None:
    case.facts = replace(case.facts, config={**(case.facts.config or {}), "MODULE_FORCE_LOAD": "y"})
    case.parts.change("/virtio_net.ko", swap(b"\0vermagic=", b"\0xermagic="))


def older(case: Case) -> None:
    """A module of another build of the kernel, with checksums."""
    release = case.facts.version.encode()
    case.parts.change(
        "/virtio_net.ko", swap(b"vermagic=" + release, b"vermagic=" + b"6.1.0-1".ljust(len(release), b"x"))
    )


POINTLESS = b'[[rule]]\naction = "deny"\nmodule = "nobody"\n'
NOTES: dict[str, tuple[str, Callable[[Case], None]]] = {
    "a rule for no module": ("policy-pointless", put("etc/modaliasd/policy.toml", POINTLESS)),
    "options for no module": ("modprobe-d-effect", put("etc/modprobe.d/x.conf", b"options nobody a=1\n")),
    "a parameter that no module has": (
        "modprobe-d-effect",
        put("etc/modprobe.d/x.conf", b"options virtio_net nothing=1\n"),
    ),
    "a plain file in /dev": ("node-file", put("dev/disk", b"")),
    "no version magic, and a kernel that minds not": ("vermagic-missing", tolerated),
    "a module of another build": ("vermagic-release", older),
}


@pytest.mark.parametrize("name", NOTES)
def test_what_may_be_meant_is_a_note(
    name: str, facts: KernelFacts, busybox_parts: Parts, tmp_path: Path
) -> None:
    """It is told, with reason and fix, and is no reason for the image not to work."""
    kind, change = NOTES[name]
    case = Case(Parts(busybox_parts), facts)
    change(case)
    findings = found_in(case, tmp_path / "x.img")
    assert {(one.id, one.level) for one in findings} == {(kind, Level.NOTE)}, findings
    assert works(findings)
    assert all(one.reason and one.fix and one.place for one in findings)


def test_many_damaged_lines_are_counted(facts: KernelFacts, busybox_parts: Parts, tmp_path: Path) -> None:
    """The first are shown, the others counted: a table that is something else has thousands."""
    case = Case(Parts(busybox_parts), facts)
    case.parts.change("/modules.softdep", lambda content: content + b"nonsense\n" * 50)
    damaged = [one for one in found_in(case, tmp_path / "x.img") if one.id == "index-damaged"]
    reasons = [one.reason for one in damaged if not one.reason.startswith("and ")]
    assert 3 <= len(reasons) <= 10
    assert f"and {50 - len(reasons)} more lines" in {one.reason for one in damaged}


def test_an_archive_without_its_end(facts: KernelFacts, busybox_parts: Parts, tmp_path: Path) -> None:
    """The kernel takes it as it is; that it may be cut short is a note."""
    path = write_parts(tmp_path / "x.img", busybox_parts)
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.rindex(b"070701")])
    findings = check(view_image(open_image(path), facts, {}))
    assert [(one.id, one.level) for one in findings] == [("archive-untrailed", Level.NOTE)]


def test_a_kernel_that_unpacks_modules_itself(facts: KernelFacts, kmod_parts: Parts, tmp_path: Path) -> None:
    """With CONFIG_MODULE_DECOMPRESS and the right compressor kmod needs no library for it."""
    case = Case(Parts(kmod_parts), facts)
    without_what_unpacks(case)
    kinds = {one.id for one in found_in(case, tmp_path / "x.img")}
    assert "module-compressed" in kinds
    own = {"MODULE_DECOMPRESS": "y", "MODULE_COMPRESS_XZ": "y"}
    case.facts = replace(facts, config={**(facts.config or {}), **own})
    assert "module-compressed" not in {one.id for one in found_in(case, tmp_path / "y.img")}


def test_modules_that_taint_are_noted(busybox_image: BuiltImage, facts: KernelFacts, tmp_path: Path) -> None:
    """Once for the image, and only where the kernel looks at signatures: it works."""
    case = Case(read_parts(busybox_image.image), facts)
    case.parts.change("/virtio_net.ko", unsigned)
    [finding] = found_in(case, tmp_path / "x.img")
    assert (finding.id, finding.level) == ("modules-taint", Level.NOTE)
    assert finding.reason.startswith("1 of ")
    case.facts = replace(facts, config={**(facts.config or {}), "MODULE_SIG": "n"})
    assert found_in(case, tmp_path / "x.img") == []


def test_more_than_thirty_ways() -> None:
    """The list is as long as it is meant to be, and goes over all kinds of rules."""
    assert len(BREAKS) + len(KMOD_BREAKS) >= 30


def test_a_kernel_that_cannot_unpack_it(busybox_image: BuiltImage, facts: KernelFacts) -> None:
    """The compressor is looked up in the kernel's configuration; what it has not, is fatal."""
    blind = replace(facts, config={**(facts.config or {}), "RD_ZSTD": "n"})
    [finding] = check(view_image(open_image(busybox_image.image), blind, {}))
    assert (finding.id, finding.level) == ("image-compressor", Level.FATAL)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_an_image_cut_short(
    busybox_image: BuiltImage, facts: KernelFacts, tmp_path: Path, share: float
) -> None:
    """The kernel would stop where the bytes do."""
    whole = busybox_image.image.read_bytes()
    path = tmp_path / "cut.img"
    path.write_bytes(whole[: int(len(whole) * share)])
    assert "image-damaged" in {one.id for one in check(view_image(open_image(path), facts, {}))}
