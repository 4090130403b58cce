"""hostbuild make-image: options in, initramfs.build_image, a table of sizes out."""

from pathlib import Path

import click

from hostbuild import ui
from hostbuild.formats.compress import WRITABLE, Compressor
from hostbuild.formats.manifest import files_beside, kernel_path
from hostbuild.fs.path_types import InputPath, InputWord, OutputPath
from hostbuild.image.build import BuiltImage, ImageOptions, Modprobe, build_image
from hostbuild.image.modules.storage import Store
from hostbuild.image.sources.extras import Extra

_EXAMPLES = """\b
Selections of modules are comma lists; the last word that speaks of a module counts:
  qemu                 what a QEMU machine of any kind needs (the default); also virtio, all, none
  e1000,snd_*          modules by name or glob, with all they depend on
  kernel/fs/           everything below a directory
  qemu,-kernel/sound/  the first without the second

\b
Examples:
  hostbuild make-image -o micro.img
  hostbuild make-image -o micro.img --modules virtio --compress xz
  hostbuild make-image -o micro.img --kernel arch/x86/boot/bzImage --modules-dir mods/lib/modules/6.1.0
  hostbuild make-image -o micro.img --overlay my-files
  hostbuild make-image -o small.img --learn boot.jsonl
"""


@click.command("make-image", epilog=_EXAMPLES)
@click.option(
    "-o",
    "--output",
    "image",
    required=True,
    type=OutputPath("the image", beside=files_beside),
    help="The image to write.",
)
@click.option(
    "--kernel",
    type=InputWord(),
    metavar="KERNEL",
    help="deb:PACKAGE, the path of a vmlinuz, or running. "
    "Default: the running kernel if it can be read, else deb:linux-image-amd64.",
)
@click.option(
    "--modules-dir", type=InputPath(), help="The kernel's modules, if not beside it or in /lib/modules."
)
@click.option(
    "--modules", "selection", help="Which modules; see below. Default: qemu; with --learn none besides."
)
@click.option(
    "--learn",
    type=InputPath(),
    metavar="FILE",
    help="Take the modules that a machine used: a ledger, or what `hostbuild capture` wrote.",
)
@click.option(
    "--overlay",
    "overlays",
    multiple=True,
    type=InputPath(inside=True),
    help="Lay a directory over the image.",
)
@click.option(
    "--firmware-dir",
    "firmware_dirs",
    multiple=True,
    type=InputPath(),
    help="Where firmware is, before /lib/firmware.",
)
@click.option(
    "--compress",
    "compressor",
    type=click.Choice([compressor.value for compressor in WRITABLE]),
    default=Compressor.ZSTD.value,
    show_default=True,
)
@click.option(
    "--modprobe",
    type=click.Choice([modprobe.value for modprobe in Modprobe]),
    default=Modprobe.BUSYBOX.value,
    show_default=True,
    help="Whose modprobe, lsmod and so on.",
)
@click.option(
    "--compress-modules",
    "store",
    type=click.Choice([store.value for store in Store]),
    default=Store.PLAIN.value,
    show_default=True,
    help="How the modules lie in the image: plain, as the kernel's own, each compressed, or in one squashfs.",
)
@click.option("--python", "python", multiple=True, metavar="MODULE", help="Add a module of Python's library.")
@click.option(
    "--with",
    "extras",
    multiple=True,
    type=click.Choice([extra.value for extra in Extra]),
    help="Add audit: pyudev and libudev, for `modaliasd audit`. Or network: a helper with pyroute2 that sets network "
    "cards up and gets their addresses by DHCP.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the manifest instead of the table.")
def command(
    image: Path,
    kernel: str | None,
    modules_dir: Path | None,
    selection: str | None,
    learn: Path | None,
    overlays: tuple[Path, ...],
    firmware_dirs: tuple[Path, ...],
    compressor: str,
    modprobe: str,
    store: str,
    python: tuple[str, ...],
    extras: tuple[str, ...],
    as_json: bool,
) -> None:
    """Build a micro-Linux: an initramfs with modules, busybox, CPython and the daemon.

    Beside IMAGE stand IMAGE.manifest.json, which says what is inside and which kernel it is for, and IMAGE.vmlinuz,
    that kernel. The three travel together.
    """
    options = ImageOptions(
        kernel=kernel,
        modules_dir=modules_dir,
        modules=("" if learn else "qemu") if selection is None else selection,
        learn=learn,
        overlays=overlays,
        firmware_dirs=firmware_dirs,
        compressor=Compressor(compressor),
        modprobe=Modprobe(modprobe),
        python=python,
        store=Store(store),
        extras=tuple(map(Extra, dict.fromkeys(extras))),
    )
    built = build_image(image, options, ui.reporter(as_json=as_json))
    if as_json:
        ui.print_json(built.manifest)
        return
    _print_summary(built)


def _print_summary(built: BuiltImage) -> None:
    image, kernel, firmware = (built.manifest[key] for key in ("image", "kernel", "firmware"))
    ui.line(
        f"{built.image}: {ui.size(image['size'])} ({image['compressor']} of {ui.size(image['unpacked'])})"
    )
    ui.line(
        f"  kernel {kernel['version']} from {kernel['origin']}, beside it as {kernel_path(built.image).name}"
    )
    learned = built.manifest.get("learned_from")
    chosen = [built.manifest["selection"], f"learned from {learned}" if learned else ""]
    ui.line(f"  {len(built.manifest['modules'])} modules ({', '.join(filter(None, chosen))})")
    if firmware["missing"]:
        ui.line(f"  {len(firmware['missing'])} firmware files that some of them may ask for were not found")
    ui.sizes_table(built.manifest["groups"])
