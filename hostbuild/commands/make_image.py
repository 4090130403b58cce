"""hostbuild make-image: options in, build.build_image, a table of sizes out."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from hostbuild import ui
from hostbuild.apt import Spec, check_release
from hostbuild.arch import Arch
from hostbuild.commands import _options
from hostbuild.errors import UsageError
from hostbuild.formats.compress import WRITABLE, Compressor
from hostbuild.formats.manifest import files_beside, kernel_path
from hostbuild.fs.files import read_input
from hostbuild.fs.path_types import InputPath, InputWord, OutputPath
from hostbuild.image.build import BuiltImage, ImageOptions, Modprobe
from hostbuild.image.made import make_image
from hostbuild.image.microcode import files_of as microcode_files
from hostbuild.image.modules.moduleset import Wanted
from hostbuild.image.modules.requested import Rule
from hostbuild.image.modules.storage import Store
from hostbuild.image.sources.cpython import DEFAULT, parse_package
from hostbuild.image.sources.extras import Extra
from hostbuild.kernels.kernel import Kernel
from hostbuild.near import listed
from hostbuild.pybuild.source import WORD as BUILD
from hostbuild.pybuild.source import BuildSpec, parse_build, tarballs_of
from hostbuild.sbom.write import Format, require_libraries, write_beside
from hostbuild.sbom.write import beside as bills_beside

_EXAMPLES = """\b
Selections of modules are comma-separated; the last word that matches counts:
  qemu                 what QEMU's machines need: the default
  virtio, all, none    what virtio's devices need, everything, nothing
  e1000,snd_*          modules by name or glob, with all they depend on
  kernel/fs/           everything below a directory
  qemu,-kernel/sound/  the first without the second

\b
Examples:
  hostbuild make-image -o micro.img
  hostbuild make-image -o micro.img --modules virtio --compress xz
  hostbuild make-image -o micro.img --kernel ~/linux   # a tree, after make
  hostbuild make-image -o micro.img --kernel deb:linux-image-amd64/trixie
  hostbuild make-image -o arm.img --arch arm64
  hostbuild make-image -o x.img --kernel bzImage --modules-dir modules/6.1.0
  hostbuild make-image -o micro.img --python deb:python3.13/trixie
  hostbuild make-image -o micro.img --python build     # compiled here, static
  hostbuild make-image -o micro.img --overlay my-files
  hostbuild make-image -o small.img --learn boot.jsonl
  hostbuild make-image -o micro.img --uki micro.efi --append "console=ttyS0"
  hostbuild make-image -o micro.img --microcode intel --append-image my.cpio
  hostbuild make-image -o micro.img --sbom cyclonedx
"""

# How many are printed; all stand in the manifest.
_WARNINGS = 20
_FIRMWARE = 5
_LARGER = 6


def _files_written(image: Path) -> tuple[Path, ...]:
    return (*files_beside(image), *bills_beside(image))


@click.command("make-image", epilog=_EXAMPLES)
@click.option(
    "-o",
    "--output",
    "image",
    required=True,
    type=OutputPath("the image", beside=_files_written),
    help="The image to write.",
)
@_options.arch
@_options.kernel
@_options.modules_dir
@click.option(
    "--modules",
    "selection",
    help="Which modules; see below. Default: qemu, or with --learn only those learned.",
)
@click.option(
    "--learn",
    type=InputPath(),
    metavar="FILE",
    help="Take the modules that a machine used: a ledger, or what `hostbuild capture` wrote.",
)
@click.option(
    "--requested",
    type=click.Choice([rule.value for rule in Rule]),
    default=Rule.NAMED.value,
    show_default=True,
    help="Which modules come along that these, or the kernel, ask for by name (request_module): named, the small ones "
    "whose names can be seen in them; all, and whatever a program may have asked for (dm-*, fs-*); none.",
)
@_options.overlays
@_options.firmware_dirs
@click.option(
    "--compress",
    "compressor",
    type=click.Choice([compressor.value for compressor in WRITABLE]),
    default=Compressor.ZSTD.value,
    show_default=True,
    help="How the image is compressed: zstd boots fast and is small; lz4 and none boot faster, and are larger; xz is "
    "the smallest, and takes seconds longer to boot.",
)
@click.option(
    "--smallest",
    is_flag=True,
    help="Compress as tightly as the compressor can, and leave out what only C++ and debuggers read of programs. "
    "zstd: a fifth smaller, half a minute of work; boots as fast.",
)
@click.option(
    "--modprobe",
    type=click.Choice([modprobe.value for modprobe in Modprobe]),
    default=Modprobe.BUSYBOX.value,
    show_default=True,
    help="Whose modprobe, lsmod and so on the image has.",
)
@click.option(
    "--compress-modules",
    "store",
    type=click.Choice([store.value for store in Store]),
    default=Store.PLAIN.value,
    show_default=True,
    help="How the modules are stored in the image: plain, as the kernel's own, each compressed, or in one squashfs "
    "(the smallest; by zstd it is read faster).",
)
@_options.strip
@click.option(
    "--release",
    metavar="RELEASE",
    help="Take busybox, CPython, kmod and their libraries from this release of Debian: trixie, sid. "
    "Default: this machine's.",
)
@click.option(
    "--python",
    "python",
    multiple=True,
    type=InputWord(tarballs_of),
    metavar="MODULE|deb:PYTHON|build[:SOURCE]",
    help="Add a module of Python's library; or name the guest's interpreter, with its release: deb:python3.13/trixie; "
    "or build one, static (with audit or network, dynamic) and up to two megabytes smaller: build, of Debian's source "
    "package (or build:deb:python3.13); "
    "build:TARBALL, of CPython's own. That takes gcc, and minutes the first time.",
)
@click.option(
    "--with",
    "extras",
    multiple=True,
    type=click.Choice([extra.value for extra in Extra]),
    help="Add audit: pyudev and libudev, for `modaliasd audit`. Or network: a helper with pyroute2 that sets network "
    "cards up and gets their addresses, by DHCP or as the kernel's ip= says. Or root: what finds and mounts the root "
    "file system that root= names, and its modules; beside it md, lvm, luks: mdadm, lvm and cryptsetup, for arrays, "
    "volume groups and encrypted disks; fsck: e2fsck and fsck.fat.",
)
@click.option(
    "--uki",
    type=OutputPath("the unified kernel image"),
    metavar="FILE",
    help="Write kernel and image as one EFI program besides, which firmware starts (not signed).",
)
@click.option(
    "--append",
    "append",
    default="",
    metavar="WORDS",
    help="With --uki: words for the kernel's command line in it.",
)
@click.option(
    "--microcode",
    multiple=True,
    type=InputWord(microcode_files),
    metavar="intel|amd|PATH",
    help="Put CPU microcode in front, which the kernel loads before all else: of Debian's intel-microcode or "
    "amd64-microcode, of a file, or of a directory such as /lib/firmware.",
)
@click.option(
    "--append-image",
    "behind",
    multiple=True,
    type=InputPath(),
    metavar="FILE",
    help="Put another image behind this one, as it is: the kernel unpacks both, and its files take the place of ours.",
)
@click.option(
    "--sbom",
    "bills",
    multiple=True,
    type=click.Choice([kind.value for kind in Format]),
    help="Write a bill of materials beside the image: IMAGE.cdx.json, IMAGE.spdx.json.",
)
@click.option("--again", is_flag=True, help="Make the image, even if one of just these inputs lies there.")
@_options.as_json("the manifest")
def command(
    image: Path,
    arch: Arch | None,
    kernel: str | None,
    modules_dir: Path | None,
    selection: str | None,
    learn: Path | None,
    requested: str,
    overlays: tuple[Path, ...],
    firmware_dirs: tuple[Path, ...],
    compressor: str,
    smallest: bool,
    modprobe: str,
    store: str,
    strip: bool,
    release: str | None,
    python: tuple[str, ...],
    extras: tuple[str, ...],
    uki: Path | None,
    append: str,
    microcode: tuple[str, ...],
    behind: tuple[Path, ...],
    bills: tuple[str, ...],
    again: bool,
    as_json: bool,
) -> None:
    """Build a micro-Linux: an initramfs with modules, busybox, CPython and the daemon.

    Beside IMAGE stand IMAGE.manifest.json, which says what is inside and which kernel it is for, and IMAGE.vmlinuz,
    that kernel. The three travel together.
    """
    interpreters = [word for word in python if _is_interpreter(word)]
    interpreter, own, chosen_release = _interpreter(interpreters, release)
    options = ImageOptions(
        arch=arch,
        kernel=kernel,
        modules_dir=modules_dir,
        modules=("" if learn else "qemu") if selection is None else selection,
        wanted=_used_by(learn) if learn else None,
        wanted_from=learn.name if learn else "",
        requested=Rule(requested),
        overlays=overlays,
        firmware_dirs=firmware_dirs,
        compressor=Compressor(compressor),
        smallest=smallest,
        modprobe=Modprobe(modprobe),
        python=tuple(word for word in python if word not in interpreters),
        interpreter=interpreter,
        own=own,
        release=chosen_release,
        store=Store(store),
        strip=strip,
        extras=tuple(map(Extra, dict.fromkeys(extras))),
        microcode=microcode,
        behind=behind,
    )
    if append and uki is None:
        raise UsageError(
            "--append is for the command line in a unified kernel image", hint="--uki FILE, or run --append"
        )
    formats = list(map(Format, dict.fromkeys(bills)))
    for kind in formats:
        require_libraries(kind)
    reporter = ui.reporter(as_json=as_json)
    if uki is None:
        built, lay_there = make_image(image, options, reporter, again=again)
        unified = 0
    else:
        from hostbuild.image.uki import check_uki, write_uki

        check_uki(uki, append)
        built, lay_there = make_image(image, options, reporter, again=again)
        unified = write_uki(uki, built, append, options.lists(built.kernel), reporter)
    with reporter.step("Writing the bill of materials") if formats else nullcontext():
        written = [write_beside(built.image, kind) for kind in formats]
    warnings = built.manifest.get("warnings", ())
    for warning in warnings[:_WARNINGS]:
        ui.note(f"warning: {warning}")
    if len(warnings) > _WARNINGS:
        ui.note(f"{len(warnings) - _WARNINGS} more warnings stand in {built.manifest_path}")
    if as_json:
        ui.print_json(built.manifest)
        return
    _print_summary(built, "nothing has changed since it was made" if lay_there else "")
    if unified:
        ui.line(f"{uki}: {ui.size(unified)}, starts by UEFI")
    for path in written:
        ui.line(f"{path}: {ui.size(path.stat().st_size)}, the bill of materials")


def _is_interpreter(word: str) -> bool:
    return word == BUILD or word.startswith(("deb:", f"{BUILD}:"))


def _interpreter(words: Sequence[str], release: str | None) -> tuple[Spec, BuildSpec | None, str]:
    """Give the package of the guest's interpreter, what it is built of, and the release of the guest's packages."""
    if len(words) > 1:
        raise UsageError(f"--python names two interpreters, {' and '.join(words)}: an image has one")
    own = parse_build(words[0]) if words and not words[0].startswith("deb:") else None
    named = parse_package(words[0]) if words and own is None else DEFAULT
    spec = (own and own.package) or named
    asked = check_release(release) if release else ""
    if asked and spec.release and asked != spec.release:
        raise UsageError(
            f"--python {words[0]} is of {spec.release}, but --release says {asked}: the interpreter's libraries are "
            "those of all programs",
            hint=f"--release {spec.release}",
        )
    return named, own, asked or spec.release


def _used_by(machine: Path) -> Wanted:
    """Make what names the modules that a machine was seen to use, from a ledger or a capture of it."""
    from hostbuild.predict.file import read_capture
    from hostbuild.predict.learn import learn as learned_modules
    from hostbuild.predict.target import open_kernel

    capture = read_capture(machine)

    def used(kernel: Kernel, modprobe_d: Mapping[str, str]) -> tuple[Iterable[str], Iterable[str]]:
        learned = learned_modules(capture, open_kernel(kernel, modprobe_d))
        lacking = [
            f"kernel {kernel.version} has no module {name}, which the machine of {machine.name} used; "
            "what its devices ask for here takes its place"
            for name in learned.lacking
        ]
        return learned.modules, lacking

    return Wanted(hashlib.sha256(read_input(machine, "the recording")).hexdigest(), used)


def _said_of(cut: Mapping[str, Any]) -> str:
    """Say what --strip has done, and what the kernel makes of it."""
    what = f"{ui.size(cut['bytes'])} were cut out of {cut['modules']} modules"
    if cut["taints"] is None:
        return f"{what}; whether the kernel takes them is not known: its configuration is not there"
    return f"{what}; the kernel is tainted by the first without its signature (E)" if cut["taints"] else what


def _print_summary(built: BuiltImage, remark: str) -> None:
    image, kernel, firmware = (built.manifest[key] for key in ("image", "kernel", "firmware"))
    ui.line(
        f"{built.image}: {ui.size(image['size'])} ({image['compressor']} of {ui.size(image['unpacked'])})"
        f"{remark and f', {remark}'}"
    )
    ui.line(
        f"  kernel {kernel['version']} from {kernel['origin']}, beside it as {kernel_path(built.image).name}"
    )
    learned = built.manifest.get("learned_from")
    chosen = [built.manifest["selection"], f"learned from {learned}" if learned else ""]
    ui.line(f"  {len(built.manifest['modules'])} modules ({', '.join(filter(None, chosen))})")
    if absent := built.manifest.get("lacking", []):
        ui.line(f"  this kernel has no {listed(absent)}")
    if cut := built.manifest.get("stripped"):
        ui.line(f"  {_said_of(cut)}")
    requested = built.manifest["requested"]
    if requested["added"]:
        ui.line(f"  {len(requested['added'])} of them because others ask for them by name")
    if requested["left_out"]:
        larger = [f"{row['name']} (for {', '.join(row['asked_by'])})" for row in requested["left_out"]]
        ui.line(f"  larger ones are left out, and may be named by --modules: {', '.join(larger[:_LARGER])}")
    if firmware["missing"]:
        ui.line(f"  {len(firmware['missing'])} firmware files that drivers may ask for were not found:")
        for name in firmware["missing"][:_FIRMWARE]:
            ui.line(f"    {name!r} for {', '.join(firmware['wanted_by'][name])}")
        if len(firmware["missing"]) > _FIRMWARE:
            ui.line(f"    and those that stand in {built.manifest_path.name}")
    ui.sizes_table(built.manifest["groups"])
