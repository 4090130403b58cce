"""Compares our answers with libkmod's on a list of modaliases: `make check-corpus CORPUS=FILE
[MODULES_DIR=DIR]`.

Both are asked with an empty configuration and all of their stages. Every difference is printed, with what
each of them says; the exit status is 1 if there was one.
"""

import argparse
import sys
from pathlib import Path

from hostbuild.kernels.kernel import require_kernel
from hostbuild.ui import Silent
from modaliasd.commands.match import open_resolver
from modaliasd.core.kmod.modprobe_d import EMPTY
from modaliasd.core.kmod.plan import Stage
from modaliasd.core.kmod.tables import text_of
from tests.support.libkmod import Kmod, KmodError


def kmod_answer(kmod: Kmod, modalias: bytes) -> list[str] | str:
    """libkmod's modules, or its error in words."""
    try:
        return kmod.answer(modalias)
    except KmodError as error:
        return f"error: {error}"


def main() -> int:
    """Compare and print; the exit status."""
    parser = argparse.ArgumentParser(description="Compare matching with libkmod's")
    parser.add_argument("corpus", type=Path, help="modaliases, one a line")
    parser.add_argument(
        "--modules-dir", type=Path, help="a module tree that depmod has run on; default: Debian's"
    )
    options = parser.parse_args()
    folder = options.modules_dir or require_kernel("deb:linux-image-amd64", None, Silent()).indexes
    assert folder is not None, "Debian's kernel has modules"
    if not (folder / "modules.alias.bin").is_file():
        sys.stderr.write(f"check-corpus: {folder} has no modules.alias.bin for libkmod; run depmod on it\n")
        return 2
    try:
        asked = list(dict.fromkeys(options.corpus.read_bytes().splitlines()))
    except OSError as error:
        sys.stderr.write(f"check-corpus: cannot read {options.corpus}: {error.strerror}\n")
        return 2
    resolver, kmod = open_resolver(str(folder), EMPTY), Kmod(folder)
    matched = different = 0
    for modalias in asked:
        stage, found = resolver.find(text_of(modalias))
        ours: list[str] = [match.module for match in found]
        theirs = kmod_answer(kmod, modalias)
        matched += bool(ours)
        if stage is Stage.BUILTIN_ALIAS and isinstance(
            theirs, list
        ):  # nothing to load: their order says nothing
            ours, theirs = sorted(ours), sorted(theirs)
        if ours != theirs:
            different += 1
            shown = theirs if isinstance(theirs, str) else ",".join(theirs)
            sys.stdout.write(f"{text_of(modalias)}\n\tlibkmod\t{shown}\n\there\t{','.join(ours)}\n")
    sys.stdout.write(f"{len(asked)} modaliases, {matched} match, {different} answers differ from libkmod's\n")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
