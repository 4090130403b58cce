"""A build tree of the user's brought up to date: plain `make` there, as they would call it."""

import os
import re
from pathlib import Path

from hostbuild.errors import CommandError, InputError
from hostbuild.kbuild import progress
from hostbuild.run import run
from hostbuild.ui import Reporter

_MAKE_S = 4 * 3600.0
# The kernel's Makefile, of a source that is an output, too.
_UNCLEAN = re.compile(r"source tree is not clean, please run .*\n\*\*\* in (\S+)")


def remake(tree: Path, report: Reporter, *words: str) -> None:
    """Call make in a tree. words: more of its arguments.

    Raises InputError for a tree that cannot be built, with the first error.
    """
    for name, trouble, fix in (
        ("Makefile", "it has no Makefile", ""),
        (".config", "it was never configured", f"make -C {tree} defconfig kvm_guest.config"),
    ):
        if not (tree / name).is_file():
            raise InputError(f"cannot build the kernel in {tree}: {trouble}", hint=fix)
    # The tree is where it builds: the variable would lead it elsewhere, from a directory that it is not relative to.
    environment = {name: value for name, value in os.environ.items() if name != "KBUILD_OUTPUT"}
    argv = ["make", "-C", str(tree), f"-j{len(os.sched_getaffinity(0))}", *words]
    with report.step(f"make -C {tree}"):
        done = run(argv, timeout=_MAKE_S, check=False, env=environment)
    if done.status == 0:
        return
    said = done.stderr.decode("utf-8", "replace").strip()
    if unclean := _UNCLEAN.search(said):
        source = unclean[1]
        raise InputError(
            f"the kernel in {tree} does not build: something was configured or built in its source {source} itself",
            hint=f"make -C {source} mrproper (this deletes the .config there: save it first)",
        )
    error = progress.first_error(said.splitlines()) or said.rpartition("\n")[2]
    if done.status != 2:  # make's, for a target that could not be made
        raise CommandError(
            f"make -C {tree} failed: {error}", argv=tuple(argv), status=done.status, stderr=said
        )
    raise InputError(f"the kernel in {tree} does not build: {error}", hint=f"make -C {tree} shows all of it")
