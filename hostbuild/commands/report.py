"""hostbuild report: a ledger as a page, a trace, a graph, a picture or text."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from hostbuild import ui
from hostbuild.errors import InputError, UsageError
from hostbuild.formats.manifest import files_beside, parse_manifest, read_manifest
from hostbuild.formats.sniff import Kind, instead, require_kind, use_of
from hostbuild.fs.files import read_input, write_file
from hostbuild.fs.path_types import InputPath, OutputPath
from hostbuild.ledger.file import read_history
from hostbuild.report.model import make_model
from modaliasd.core.ledger.history import History

_FORMATS = ("html", "perfetto", "dot", "svg", "text", "json")
# The end of a file's name -> the format; the first that fits counts.
_ENDINGS = {
    ".trace.json": "perfetto",
    ".trace": "perfetto",
    ".perfetto": "perfetto",
    ".html": "html",
    ".htm": "html",
    ".dot": "dot",
    ".gv": "dot",
    ".svg": "svg",
    ".txt": "text",
    ".json": "json",
}
_UTF8 = ("html", "dot", "svg")  # what says of itself, or is known, to be UTF-8
_EPILOG = """\b
Formats:
  html      one page, without a network: timeline, devices, failures, unused
  perfetto  trace events for ui.perfetto.dev or chrome://tracing
  dot, svg  a graph for Graphviz, the timeline as a picture
  text      the tree, as `modaliasd tree` prints it
  json      what the page shows, for programs

\b
Examples:
  hostbuild run micro.img --exit-when-settled --ledger-out boot.jsonl
  hostbuild report boot.jsonl --image micro.img -o boot.html
  hostbuild report boot.jsonl --format perfetto -o boot.trace.json
"""


@click.command("report", epilog=_EPILOG)
@click.argument("ledger", type=InputPath())
@click.option(
    "-o", "--output", type=OutputPath("the report"), help="The file to write. Default: standard output."
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(_FORMATS),
    help="Default: by the file's extension; html on stdout.",
)
@click.option(
    "--image",
    type=InputPath(beside=files_beside),
    help="The image that was booted; what it carries and never used is listed.",
)
@click.option(
    "--manifest", "manifest_file", type=InputPath(), help="Its manifest, if the image is not at hand."
)
@click.option("--title", help="The page's title. Default: the ledger's name.")
def command(
    ledger: Path,
    output: Path | None,
    kind: str | None,
    image: Path | None,
    manifest_file: Path | None,
    title: str | None,
) -> None:
    """Show the boot that LEDGER tells of."""
    if image is not None and manifest_file is not None:
        raise UsageError("--image and --manifest are mutually exclusive")
    kind = kind or _kind_of(output)
    if kind == "html" and output is None and sys.stdout.isatty():
        raise UsageError("refusing to write HTML to a terminal", hint="-o report.html, or --format text")
    history = read_history(ledger)
    text = _render(history, kind, _manifest(image, manifest_file), title or ledger.stem)
    if output is None:
        ui.document(text) if kind in _UTF8 else sys.stdout.write(text)
        return
    data = text.encode()
    write_file(output, data, "the report")
    ui.line(f"{output}: {ui.size(len(data))}")


def _kind_of(output: Path | None) -> str:
    if output is None:
        return "html"
    for ending, kind in _ENDINGS.items():
        if output.name.lower().endswith(ending):
            return kind
    raise UsageError(
        f"cannot tell a format from the name {output}; known endings are {', '.join(_ENDINGS)}",
        hint=f"--format {'|'.join(_FORMATS)} writes to a file of any name",
    )


def _manifest(image: Path | None, manifest_file: Path | None) -> dict[str, Any] | None:
    if image is not None:
        require_kind(image, Kind.IMAGE, Kind.PACKED)
        return read_manifest(image)
    if manifest_file is None:
        return None
    if other := instead(manifest_file, Kind.MANIFEST, Kind.TEXT, Kind.DIRECTORY):
        raise InputError(other, hint=use_of(manifest_file))
    return parse_manifest(read_input(manifest_file, "the manifest"), manifest_file)


def _render(history: History, kind: str, manifest: dict[str, Any] | None, title: str) -> str:
    if kind == "text":
        from modaliasd.core.ledger.text_tree import render_tree

        return render_tree(history, color=False)
    model = make_model(history, manifest, title)
    if kind == "html":
        from hostbuild.report.html import render_html

        return render_html(model)
    if kind == "dot":
        from hostbuild.report.dot import render_dot

        return render_dot(model)
    if kind == "svg":
        from hostbuild.report.svg import render_svg

        return render_svg(model)
    if kind == "perfetto":
        from hostbuild.report.perfetto import make_trace

        model = make_trace(model)
    return json.dumps(model, indent=1) + "\n"
