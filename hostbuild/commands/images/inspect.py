"""hostbuild inspect: an image in, archive.open_image, tables out."""

import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from hostbuild import ui
from hostbuild.commands import _options
from hostbuild.errors import UsageError
from hostbuild.formats.initramfs import archive
from hostbuild.formats.initramfs.archive import Image, Segment
from hostbuild.formats.initramfs.difference import Change, difference
from hostbuild.formats.initramfs.rootfs import Node
from hostbuild.formats.manifest import files_beside, manifest_path, read_manifest
from hostbuild.fs.files import write_file
from hostbuild.fs.path_types import InputPath, OutputPath
from hostbuild.sbom.write import Format, render
from modaliasd.core.printable import printable

_TOLD = 10  # members that come to nothing, each named

_EXAMPLES = """\b
Examples:
  hostbuild inspect micro.img
  hostbuild inspect /boot/initrd.img-6.1.0-56-amd64 --files
  hostbuild inspect micro.img --json | jq '.groups.modules.size'
  hostbuild inspect yesterday.img micro.img     # what differs, file by file
  hostbuild inspect micro.img -o room.html      # what takes the room
  hostbuild inspect micro.img --sbom spdx > micro.spdx.json
"""


@click.command("inspect", epilog=_EXAMPLES)
@click.argument("image", type=InputPath(beside=files_beside))
@click.argument("other", type=InputPath(), required=False)
@click.option("--files", "show_files", is_flag=True, help="List the files, too.")
@click.option(
    "-o",
    "--output",
    type=OutputPath("what is seen"),
    help="Write a page of what takes the room (.html); with --sbom, that.",
)
@click.option(
    "--sbom",
    "bill",
    type=click.Choice([kind.value for kind in Format]),
    help="Print the bill of materials of an image that has its manifest beside it.",
)
@_options.as_json("the list, always with the files,")
def command(
    image: Path, other: Path | None, show_files: bool, output: Path | None, bill: str | None, as_json: bool
) -> None:
    """List what a kernel makes of an initramfs IMAGE, whoever made it; or what OTHER has otherwise.

    Reads newc archives, plain or packed with gzip, zstd, xz, lz4, bzip2 or lzma, and several of them in one file, as
    the kernel does: of several members of one name the last counts, and what the kernel drops in silence is told. For
    an image that the kernel does not unpack to its end, it lists what comes before, and ends with status 100.

    With OTHER it lists the files that are new there (+), gone (-) or changed (~), with their sizes, the parts with the
    largest growth first.
    """
    _require_one(other, show_files, output, bill, as_json)
    if bill is not None:
        _print_bill(image, Format(bill), output)
        return
    if output is not None:
        _write_page(image, output)
        return
    if other is not None:
        _compare(
            archive.open_image(image).require_whole(), archive.open_image(other).require_whole(), as_json
        )
        return
    found = archive.open_image(image)
    if not found.segments:
        found.require_whole()
    if as_json:
        ui.print_json(_as_json(found))
    elif show_files:
        for path, node in found.root.walk():
            ui.line(_file_line(path, node))
    else:
        _print_summary(found)
    if not as_json:
        for note in _notes(found):
            ui.note(note)
    found.require_whole()


def _require_one(
    other: Path | None, show_files: bool, output: Path | None, bill: str | None, as_json: bool
) -> None:
    """Refuse options that ask for two different things."""
    asked = [
        ("a second image", other is not None),
        ("--files", show_files),
        ("--json", as_json),
        ("--sbom" if bill is not None else "--output", output is not None or bill is not None),
    ]
    named = [name for name, there in asked if there]
    if asked[-1][1] and len(named) > 1:
        raise UsageError(f"{named[0]} and {named[-1]} are mutually exclusive")
    if bill is None and output is not None and output.suffix.lower() not in ("", ".html", ".htm"):
        raise UsageError(
            f"cannot tell what to write into {output}", hint="a page of what takes the room: -o room.html"
        )


def _print_bill(image: Path, kind: Format, output: Path | None) -> None:
    text = render(image, kind)
    if output is None:
        ui.document(text)
        return
    write_file(output, text.encode(), "the bill of materials")
    ui.line(f"{output}: {ui.size(output.stat().st_size)}")


def _write_page(image: Path, output: Path) -> None:
    """Write the page of what takes the room."""
    from hostbuild.report.room import read_room
    from hostbuild.report.room_html import render_room

    found = archive.open_image(image).require_whole()
    groups: dict[str, str] = {}
    if manifest_path(image).exists():
        manifest = read_manifest(image)
        if manifest["image"].get("size") == found.size:
            groups = {str(row["path"]): str(row["group"]) for row in manifest["files"]}
    with ui.reporter().step("Reading the image", sum(one.unpacked for one in found.segments)) as advance:
        data = render_room(read_room(found, groups, advance)).encode()
    write_file(output, data, "the page")
    ui.line(f"{output}: {ui.size(len(data))}")


def _compare(first: Image, second: Image, as_json: bool) -> None:
    changes = difference(first, second)
    groups: dict[str, list[Change]] = {}
    for change in changes:
        groups.setdefault(archive.group_of(change.path), []).append(change)
    ordered = sorted(groups.items(), key=lambda row: (-sum(one.growth for one in row[1]), row[0]))
    if as_json:
        ui.print_json(
            {
                "images": [{"file": one.path.name, "size": one.size} for one in (first, second)],
                "growth": sum(one.growth for one in changes),
                "groups": {group: sum(one.growth for one in rows) for group, rows in ordered},
                "changes": [
                    {
                        "path": one.path,
                        "kind": one.kind.name.lower(),
                        "what": one.what or None,
                        "before": one.before,
                        "after": one.after,
                    }
                    for one in changes
                ],
            }
        )
        return
    for group, rows in ordered:
        ui.line(f"{group}: {sum(one.growth for one in rows):+} bytes in {len(rows)} files")
        for one in sorted(rows, key=lambda row: (-abs(row.growth), row.path)):
            what = f" ({one.what})" if one.what else ""
            ui.line(f"  {one.kind.value} {one.growth:>+11} {one.path}{what}")
    ui.line(
        f"{first.path} to {second.path}: {len(changes)} files differ, {sum(one.growth for one in changes):+} bytes "
        f"unpacked, {second.size - first.size:+} packed"
    )


def _as_json(image: Image) -> dict[str, Any]:
    return {
        "image": image.path.name,
        "size": image.size,
        "archives": [
            {
                "offset": segment.offset,
                "compressor": segment.compressor.value,
                "packed": segment.packed,
                "unpacked": segment.unpacked,
                "files": len(segment.members),
            }
            for segment in image.segments
        ],
        "bootconfig": image.bootconfig,
        "trouble": None
        if image.trouble is None
        else {
            "offset": image.trouble.offset,
            "message": str(image.trouble),
            "kernel": image.trouble.said or None,
        },
        "passed_over": [{"path": path, "reason": why} for path, why in image.passed_over],
        "kernels": archive.versions_in(path for path, _ in image.root.walk()),
        "groups": _groups(image),
        "files": [_file_json(path, node) for path, node in image.root.walk()],
    }


def _file_json(path: str, node: Node) -> dict[str, Any]:
    row: dict[str, Any] = {"path": path, "mode": f"{node.mode:06o}", "size": node.size}
    if stat.S_ISLNK(node.mode):
        row["target"] = node.target
    return row


def _groups(image: Image) -> dict[str, dict[str, int]]:
    groups: dict[str, dict[str, int]] = {}
    counted = set()
    for path, node in image.root.walk():
        row = groups.setdefault(archive.group_of(path), {"files": 0, "size": 0})
        row["files"] += not stat.S_ISDIR(node.mode)
        if id(node) not in counted:  # a hard link takes no room
            row["size"] += node.size
            counted.add(id(node))
    return dict(sorted(groups.items()))


def _file_line(path: str, node: Node) -> str:
    size = str(node.size)
    if stat.S_ISCHR(node.mode) or stat.S_ISBLK(node.mode):
        size = "{}, {}".format(*node.device)
    arrow = f" -> {node.target}" if stat.S_ISLNK(node.mode) else ""
    return f"{stat.filemode(node.mode)} {size:>10} {path}{arrow}"


def _notes(image: Image) -> Iterable[str]:
    """Return what the kernel does not tell, and nobody would see."""
    for offset in image.untrailed if image.trouble is None else ():
        yield f"the archive at offset {offset} has no trailer: the kernel takes it, but it may be cut short"
    for name, why in image.passed_over[:_TOLD]:
        yield f"the kernel drops {name[:200] or 'a member without a name'}: {why[:200]}"
    if len(image.passed_over) > _TOLD:
        yield f"and {len(image.passed_over) - _TOLD} more, which --json lists"


def _early(image: Image, segment: Segment) -> str:
    """Say of what CPUs the microcode in an archive is."""
    paths, early = image.microcode(segment)
    if not paths:
        return ""
    names = [path.rpartition("/")[2].removesuffix(".bin") for path in paths]
    late = "" if early else ", where the kernel does not look"
    return f": CPU microcode, {printable(' and '.join(names))}{late}"


def _print_summary(image: Image) -> None:
    ui.line(f"{image.path}: {ui.size(image.size)}")
    for segment in image.segments:
        packed = f", {ui.size(segment.packed)}" if segment.packed else ""
        ui.line(
            f"  at offset {segment.offset}: {segment.compressor.value}{packed}, "
            f"unpacked {ui.size(segment.unpacked)}, {len(segment.members)} files{_early(image, segment)}"
        )
    if image.bootconfig:
        offset = image.size - image.bootconfig
        ui.line(f"  at offset {offset}: bootconfig, {ui.size(image.bootconfig)}")
    kernels = archive.versions_in(path for path, _ in image.root.walk())
    ui.line(f"  modules for: {', '.join(kernels) or 'no kernel'}")
    ui.sizes_table(_groups(image))
