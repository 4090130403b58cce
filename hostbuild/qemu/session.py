"""A boot made ready: the image's manifest, its kernel, the memory it needs, the accelerator, the command line.

session = prepare(Path("micro.img"), read_machine("q35", ["e1000"]), append="quiet", limit_s=120)
with session.vm() as vm:
    vm.settled()
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hostbuild import ui
from hostbuild.errors import InputError, UsageError
from hostbuild.formats.devicetree.blob import parse_blob
from hostbuild.formats.initramfs.archive import open_image, versions_in
from hostbuild.formats.manifest import manifest_path, no_manifest, read_manifest
from hostbuild.formats.modules.signed_only import why_signed_only
from hostbuild.formats.sniff import Kind, require_kind, require_there
from hostbuild.fs.files import read_input
from hostbuild.kernels.bzimage import read_arch, read_vmlinuz
from hostbuild.kernels.find import find_kernel
from hostbuild.kernels.image_kernel import require_vmlinuz
from hostbuild.kernels.unpacked import unpacked_kernel
from hostbuild.qemu.accel import Accel, choose
from hostbuild.qemu.boot import TESTED_APPEND, Boot
from hostbuild.qemu.lines import Line, Listener
from hostbuild.qemu.machine import Machine, parse_memory
from hostbuild.qemu.memory import MemoryEstimate, require_enough
from hostbuild.qemu.memory_probe import read_estimate
from hostbuild.qemu.outside import with_tpms
from hostbuild.qemu.vm import VM


@dataclass(frozen=True, slots=True)
class Session:
    """Everything that a boot needs, checked; nothing has been started yet.

    machine: its memory is None, for the boot's counts. manifest: {} for an image without one.
    notes: what the caller may want to tell about the choices that were made, a sentence each.
    """

    machine: Machine
    boot: Boot
    manifest: Mapping[str, Any]
    estimate: MemoryEstimate
    notes: tuple[str, ...] = ()

    def vm(self, *, listeners: dict[Line, Listener] | None = None) -> VM:
        """Return the machine, to be started by `with`; `listeners` are handed the serial lines' raw bytes."""
        return VM(self.machine, self.boot, listeners=listeners)

    def argv(self) -> list[str]:
        """Return QEMU's command line, all but the serial lines and the monitor.

        The sockets of swtpm and virtiofsd are in the current directory, where one may start these.
        """
        machine, _ = with_tpms(self.machine, Path())
        return self.boot.argv(machine, Path())


def prepare(
    image: Path,
    machine: Machine,
    *,
    kernel: str | None = None,
    append: str = "",
    memory: str | None = None,
    accel: str = "auto",
    icount: bool = False,
    agent: bool = False,
    poweroff: bool = False,
    quiet: bool = False,
    shell: bool = True,
    pvh: bool = False,
    dtb: Path | None = None,
    extra: Sequence[str] = (),
    limit_s: float = 120.0,
) -> Session:
    """Make a boot of `image` ready: find what belongs to it, and refuse what cannot work.

    kernel: as kernels/find.py takes it; None takes the image's own. append: words for the kernel, behind those
    of the manifest. memory: "auto" or a size; None takes the machine's, which is auto if it names none. accel: "auto",
    "kvm" or "tcg". pvh: enter an unpacked kernel where that is faster (kernels/unpacked.py). dtb: a device tree instead
    of the board's own. agent, poweroff, quiet, shell, extra, limit_s: as Boot has them.
    Raises InputError for an image or a kernel that cannot be used, UsageError for too little memory or options that
    contradict each other, WorldError where KVM is demanded and does not work.
    """
    manifest = _read_manifest_if_any(image)
    vmlinuz = _require_kernel_for(image, manifest, kernel)
    machine = machine.for_arch(read_arch(vmlinuz))
    wanted = machine.memory if memory is None else parse_memory(memory)
    if dtb is not None:
        _require_tree(dtb, machine)
    chosen = choose(accel, machine.board.arch)
    if icount and chosen.accel is Accel.KVM:
        raise UsageError("--icount counts instructions, which KVM cannot do", hint="--accel tcg")
    estimate = read_estimate(image, manifest, vmlinuz, append)
    words = " ".join(filter(None, (_tested(manifest, kernel), manifest.get("append", ""), append)))
    packed = ""
    if pvh:
        vmlinuz, packed = _unpacked(vmlinuz, chosen.accel, machine, extra, words)
    if wanted is not None:
        require_enough(estimate, wanted)
    boot = Boot(
        kernel=vmlinuz,
        initrd=image,
        append=words,
        accel=chosen.accel,
        memory=estimate.comfortable if wanted is None else wanted,
        icount=icount,
        agent=agent,
        poweroff=poweroff,
        quiet=quiet,
        shell=shell,
        dtb=None if dtb is None else dtb.absolute(),
        extra=tuple(extra),
        limit_s=limit_s,
    )
    emulated = chosen.accel is Accel.TCG and accel == "auto"
    notes = [f"no KVM, so QEMU emulates: {chosen.why}"] if emulated else []
    notes += filter(None, [boot.why_in_turns(machine)])
    if packed:
        notes.append(f"--pvh: the kernel starts packed: {packed}")
    if manifest.get("stripped") and (why := why_signed_only(None, boot.append)):
        notes.append(
            f"{why}: the kernel will load no module, for their signatures were cut off (make-image --strip)"
        )
    return Session(replace(machine, memory=None), boot, manifest, estimate, tuple(notes))


def _require_tree(dtb: Path, machine: Machine) -> None:
    """Raise InputError for a file that is no device tree, UsageError for a board that has none."""
    require_kind(dtb, Kind.DEVICETREE)
    data = read_input(dtb, "the device tree")
    try:
        parse_blob(data)
    except InputError as e:
        raise InputError(f"{dtb} is {e}", hint="dtc -I dtb -O dts shows what can be read of it") from e
    if not machine.board.has_tree:
        raise UsageError(
            f"--dtb: the machine {machine.name} is a PC, which has no device tree",
            hint="device trees are for images of arm64 and riscv64",
        )


def _tested(manifest: Mapping[str, Any], spec: str | None) -> str:
    """Return the words that spare a kernel the tests of its ciphers; "" where somebody may want them.

    That is whoever boots a kernel of their own, or brings a module (an overlay, `try`, `boot`), which may be a cipher.
    """
    own = spec is not None or any("origin" in row for row in manifest.get("modules", ()))
    return "" if own or "package" not in manifest.get("kernel", {}) else TESTED_APPEND


def _unpacked(
    vmlinuz: Path, accel: Accel, machine: Machine, extra: Sequence[str], append: str
) -> tuple[Path, str]:
    """Return the kernel to be entered by PVH; or the packed one, and why."""
    given = [*machine.options, *(word for _, word in machine.raw), *extra]
    early = sorted({word.partition("=")[0] for word in append.split()} & {"vga", "kaslr", "nokaslr"})
    if accel is not Accel.TCG:
        return vmlinuz, "with KVM that takes no time"
    if any(word in text for text in given for word in ("bios", "pflash", "firmware")):
        return vmlinuz, "the machine has a firmware of its own"
    if early:
        return vmlinuz, f"{early[0]} is for the packed kernel's own code"
    found = unpacked_kernel(vmlinuz)
    return (found, "") if found is not None else (vmlinuz, "it cannot be unpacked, or has no entry for PVH")


def _read_manifest_if_any(image: Path) -> dict[str, Any]:
    """Read the image's manifest; {} for an image without one. Raises InputError where there is no image."""
    require_there(image, "image", hint=f"hostbuild make-image -o {shlex.quote(str(image))}")
    require_kind(image, Kind.IMAGE, Kind.PACKED)
    return read_manifest(image) if manifest_path(image).exists() else {}


def _require_kernel_for(image: Path, manifest: dict[str, Any], spec: str | None) -> Path:
    """Return the vmlinuz to boot an image with.

    spec: as kernels/find.py takes it; None takes the one that the manifest names, if it is unchanged.
    Raises InputError for a kernel that the image has no modules for, but for others: it could load none of them.
    """
    if spec is None and not manifest:
        raise no_manifest(image)
    if spec is None:
        return require_vmlinuz(image, manifest, ui.reporter())
    found = find_kernel(spec, ui.reporter())
    for note in found.notes:
        ui.note(note)
    version, _ = read_vmlinuz(found.vmlinuz)
    carried = _versions_in(image, manifest)
    if carried and version not in carried:
        rebuild = f"hostbuild make-image --kernel {shlex.quote(spec)} -o {shlex.quote(str(image))}"
        or_leave = "; or leave --kernel out" if manifest else ""
        raise InputError(
            f"the kernel {spec} is {version}, but the modules in {image} are for {', '.join(carried)}: "
            "none of them could be loaded",
            hint=f"make the image for this kernel: {rebuild}{or_leave}",
        )
    return found.vmlinuz


def _versions_in(image: Path, manifest: dict[str, Any]) -> list[str]:
    """Return the kernels that the image has modules for: from its manifest, or as a kernel unpacks it."""
    if manifest.get("image", {}).get("size") == image.stat().st_size:
        return [manifest["kernel"]["version"]]
    return versions_in(path for path, _ in open_image(image).require_whole().root.walk())
