"""hostbuild check: an image and its kernel in, check.rules over them, findings out."""

from collections import Counter
from pathlib import Path

import click

from hostbuild import ui
from hostbuild.check.finding import Finding, Level
from hostbuild.check.view import Limits, View
from hostbuild.commands import _options
from hostbuild.errors import UsageError
from hostbuild.formats.initramfs import archive
from hostbuild.formats.manifest import ManifestError, files_beside, manifest_path, read_manifest
from hostbuild.fs.path_types import InputPath

_TOLD = {Level.FATAL: 20, Level.ERROR: 5, Level.NOTE: 2}  # findings of one kind, each named

_EPILOG = """Exit status 1 if something was found that will not work; notes alone are no reason.

\b
Examples:
  hostbuild check micro.img
  hostbuild check micro.img --max-size 12M --memory 256
  hostbuild check /boot/initrd.img-6.1.0-56-amd64 --kernel 6.1.0-56-amd64
  hostbuild check micro.img --append lockdown=integrity
  hostbuild check micro.img --json | jq '.findings[].id'
"""


@click.command("check", epilog=_EPILOG)
@click.argument("image", type=InputPath(beside=files_beside))
@_options.boot_kernel
@_options.append
@click.option(
    "--max-size",
    metavar="SIZE",
    help="Refuse an image of more bytes than SIZE (K, M or G behind a number: 1024).",
)
@click.option(
    "--memory",
    metavar="SIZE",
    help="Refuse an image that does not boot in so much memory (MiB, or with M or G).",
)
@_options.as_json("the findings")
def command(
    image: Path, kernel: str | None, append: str, max_size: str | None, memory: str | None, as_json: bool
) -> int:
    """Say what of IMAGE will not work, before it is booted.

    Looks at the archives, /init, programs with their libraries, scripts with their interpreters, modules (dependencies,
    symbols with checksums, version magic, signatures where they are demanded), the indexes, modprobe.d and the policy,
    and holds them against the kernel. Takes images of other tools, too. Each finding has its reason and a fix.
    """
    from hostbuild.check.rules import check, works
    from hostbuild.qemu.device import parse_size

    limit = parse_size(max_size) if max_size is not None else None
    view = _view(image, kernel, append, limit, memory)
    findings = check(view)
    if as_json:
        ui.print_json(
            {
                "image": image.name,
                "kernel": view.release or None,
                "kernel_known": view.kernel is not None,
                "findings": [one.fields() for one in findings],
            }
        )
    else:
        _print(image, findings, view.release)
    return 0 if works(findings) else 1


def _view(image: Path, spec: str | None, append: str, max_size: int | None, memory: str | None) -> View:
    """Read the image, and the kernel that is named, or that it was made for."""
    from hostbuild.check.kernel import read_kernel, read_kernel_of
    from hostbuild.check.read import view_image
    from hostbuild.qemu.machine import parse_memory
    from hostbuild.qemu.memory_probe import read_estimate

    allowed = parse_memory(memory) if memory is not None else None
    found = archive.open_image(image)
    if not found.segments:
        found.require_whole()
    manifest = read_manifest(image) if manifest_path(image).exists() else {}
    facts, vmlinuz = None, None
    if spec is not None:
        vmlinuz, facts = read_kernel(spec, ui.reporter())
    elif manifest:
        try:
            vmlinuz, facts = read_kernel_of(image, manifest, ui.reporter())
        except ManifestError as e:
            ui.note(f"the kernel is not looked at: {e}")
    else:
        ui.note("the kernel is not looked at: the image has no manifest; --kernel names it")
    needed, why = 0, ""
    if allowed is not None:
        if vmlinuz is None:
            raise UsageError("--memory needs the kernel", hint="--kernel KERNEL")
        if found.trouble is None:
            estimate = read_estimate(image, manifest, vmlinuz, append)
            needed, why = estimate.least, estimate.bound.value
    return view_image(found, facts, manifest, append, Limits(max_size, allowed, needed, why))


def _print(image: Path, findings: list[Finding], release: str) -> None:
    kinds = Counter((one.level, one.id) for one in findings)
    told: Counter[tuple[Level, str]] = Counter()
    for one in findings:
        kind = (one.level, one.id)
        told[kind] += 1
        if told[kind] <= _TOLD[one.level]:
            ui.line(f"{one.level.value}: {one.place}: {one.reason} [{one.id}]")
            ui.line(f"    fix: {one.fix}")
        elif told[kind] == kinds[kind]:
            ui.line(
                f"{one.level.value}: and {kinds[kind] - _TOLD[one.level]} more [{one.id}], which --json lists"
            )
    levels = Counter(one.level for one in findings)
    counts = [
        f"{levels[level]} {level.value}{'s' * (levels[level] != 1)}" for level in Level if levels[level]
    ]
    ui.line(f"{image}{f', kernel {release}' if release else ''}: {', '.join(counts) or 'nothing found'}")
