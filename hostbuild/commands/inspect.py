"""hostbuild inspect: an image in, archive.read_image, tables out."""

import stat
from pathlib import Path
from typing import Any

import click

from hostbuild import ui
from hostbuild.commands import _options
from hostbuild.formats import archive
from hostbuild.formats.archive import Segment
from hostbuild.formats.newc import Member
from hostbuild.fs.path_types import InputPath

_EXAMPLES = """\b
Examples:
  hostbuild inspect micro.img
  hostbuild inspect /boot/initrd.img-6.1.0-56-amd64 --files
  hostbuild inspect micro.img --json | jq '.groups.modules.size'
"""


@click.command("inspect", epilog=_EXAMPLES)
@click.argument("image", type=InputPath())
@click.option("--files", "show_files", is_flag=True, help="List the files, too.")
@_options.as_json("the list, always with the files,")
def command(image: Path, show_files: bool, as_json: bool) -> None:
    """List what is inside an initramfs IMAGE, whoever made it.

    Reads newc archives, plain or packed with gzip, zstd, xz, lz4 or bzip2, and several of them in one file.
    """
    segments = archive.read_image(image)
    if as_json:
        ui.print_json(_as_json(image, segments))
        return
    if show_files:
        for segment in segments:
            for member in segment.members:
                ui.line(_file_line(member))
        return
    _print_summary(image, segments)


def _as_json(image: Path, segments: list[Segment]) -> dict[str, Any]:
    members = [member for segment in segments for member in segment.members]
    return {
        "image": image.name,
        "size": image.stat().st_size,
        "archives": [
            {
                "offset": segment.offset,
                "compressor": segment.compressor.value,
                "packed": segment.packed,
                "unpacked": segment.unpacked,
                "files": len(segment.members),
            }
            for segment in segments
        ],
        "kernels": archive.kernel_versions(members),
        "groups": _groups(members),
        "files": [
            {"path": member.name, "mode": f"{member.mode:06o}", "size": member.size} for member in members
        ],
    }


def _groups(members: list[Member]) -> dict[str, dict[str, int]]:
    groups: dict[str, dict[str, int]] = {}
    for member in members:
        row = groups.setdefault(archive.group_of(member), {"files": 0, "size": 0})
        row["files"] += not stat.S_ISDIR(member.mode)
        row["size"] += member.size
    return dict(sorted(groups.items()))


def _file_line(member: Member) -> str:
    name = member.name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return f"{archive.permissions(member)} {member.size:>10} {name}"


def _print_summary(image: Path, segments: list[Segment]) -> None:
    members = [member for segment in segments for member in segment.members]
    ui.line(f"{image}: {ui.size(image.stat().st_size)}")
    for segment in segments:
        ui.line(
            f"  at offset {segment.offset}: {segment.compressor.value}, {ui.size(segment.packed)}, "
            f"unpacked {ui.size(segment.unpacked)}, {len(segment.members)} files"
        )
    kernels = archive.kernel_versions(members)
    ui.line(f"  modules for: {', '.join(kernels) or 'no kernel'}")
    ui.sizes_table(_groups(members))
