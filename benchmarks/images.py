"""The images that are compared, ours as `hostbuild make-image` makes them and other builders': a row each."""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.peers import RECIPES, PeerImage, children_s, require_images
from hostbuild.errors import HostbuildError
from hostbuild.formats.manifest import manifest_path
from hostbuild.kernels.kernel import Kernel

KERNEL = "deb:linux-image-amd64"


@dataclass(frozen=True, slots=True)
class Made:
    """An image that is there. modules: how many files it has. cpu_s: what its builder took. ours: hostbuild made it."""

    path: Path
    modules: int
    cpu_s: float = float("nan")
    ours: bool = False


Row = tuple[str, Callable[[], Made]]  # its name, and what makes its image


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line asks for. only: words, one of which a row's name has to have, if there are any.

    also: options of make-image that get a row besides.
    """

    runs: int
    only: tuple[str, ...]
    also: tuple[str, ...] = ()

    def wants(self, name: str) -> bool:
        """Tell whether a row is asked for."""
        return not self.only or any(word in name for word in self.only)


def parse_arguments(description: str) -> Asked:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--runs", type=int, default=3, help="boots of each image, the quickest of which is shown"
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="WORD", help="only rows whose name has it"
    )
    parser.add_argument(
        "--also", action="append", default=[], metavar="OPTIONS", help="a row for an image with these options"
    )
    parsed = parser.parse_args()
    return Asked(parsed.runs, tuple(parsed.only), tuple(parsed.also))


def rows(
    asked: Asked, directory: Path, kernel: Kernel, ledger: Path, ways: Sequence[str], added: str = ""
) -> Iterator[Row]:
    """Yield the rows that are asked for.

    ledger: where the caller puts that of the default image's boot, when it has it. ways: options of make-image, a row
    each; `added` are options of all.
    """
    names = {way: f"`{way}`" if way else "default" for way in (*ways, *asked.also)}
    for number, (way, name) in enumerate(names.items()):
        if asked.wants(name):
            yield name, partial(_make, directory / f"{number}.img", f"{way} {added}")
    if ledger.exists():
        for number, way in enumerate(("", " --strip"), len(names)):
            options = f"--learn {ledger}{way} {added}"
            name = f"learned from the default's boot{f', `{way.strip()}`' if way else ''}"
            if asked.wants(name):
                yield name, partial(_make, directory / f"{number}.img", options)
    wanted = [recipe for recipe in RECIPES if asked.wants(recipe.name)]
    for release in dict.fromkeys(recipe.release for recipe in wanted):
        some = [recipe for recipe in wanted if recipe.release == release]
        try:
            peers = require_images(kernel, some)
        except HostbuildError as e:
            names = "; ".join(recipe.name for recipe in some)
            print(f"left out, {names}: {e}{f'; {e.hint}' if e.hint else ''}", file=sys.stderr)
            continue
        for peer in peers:
            yield peer.name, partial(_theirs, peer)


def _make(path: Path, options: str) -> Made:
    """Make an image as a person would."""
    command = [str(Path(sys.executable).with_name("hostbuild")), "make-image", "--kernel", KERNEL, "--quiet"]
    before = children_s()
    subprocess.run(
        [*command, "--again", "-o", str(path), *options.split()], check=True, stdout=subprocess.DEVNULL
    )
    taken = children_s() - before
    return Made(path, len(json.loads(manifest_path(path).read_text())["modules"]), taken, ours=True)


def _theirs(peer: PeerImage) -> Made:
    return Made(peer.path, peer.modules, peer.cpu_s)
