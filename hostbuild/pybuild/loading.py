"""An interpreter that loads libraries while it runs: what build.py has kept, linked dynamically, with _ctypes in it.

    built/KEY-ctypes-DIGEST/    as built/KEY, and beside its files:
        link/lib_ctypes.a           compiled against libffi-dev, which nobody else needs
        link/config.c               names _ctypes
        bin/python3.X               linked dynamically, too

Only images that ask for such a thing have it; the others' stay static, byte by byte.
"""

import hashlib
import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

from hostbuild.fs import sealed
from hostbuild.fs.locked import locked
from hostbuild.fs.scratch import scratch_directory
from hostbuild.pybuild import setup_lines, toolchain
from hostbuild.pybuild.build import Built, read_built
from hostbuild.pybuild.link import (
    CTYPES,
    Linkage,
    bootstrap_modules,
    compile_ctypes,
    ctypes_question,
    link,
)
from hostbuild.ui import Reporter

_NAME = "_ctypes"


def require_loading(built: Built, report: Reporter) -> Built:
    """Give an interpreter's parts with _ctypes among them, made of those without.

    Raises ToolMissingError where libffi's headers are missing, CommandError.
    """
    toolchain.require_toolchain(from_package=False, loads=True)
    facts = [toolchain.loading_fingerprint().encode(), ctypes_question()]
    digest = hashlib.sha256(b"\0".join(facts)).hexdigest()[:16]
    final = built.home.with_name(f"{built.home.name}-ctypes-{digest}")
    with locked(final.with_name(f"{final.name}.lock")):
        root = sealed.find(final)
        if root is None:
            with report.step("Adding ctypes to the interpreter"), scratch_directory(final.parent) as scratch:
                _assemble(built, sealed.root_of(scratch / "sealed"))
                root = sealed.publish(scratch / "sealed", final)
    return read_built(root)


def _assemble(built: Built, root: Path) -> None:
    shutil.copytree(built.root, root)
    directory = root / "link"
    archive = compile_ctypes(directory)
    config = directory / "config.c"
    config.write_text(setup_lines.added(config.read_text(encoding="utf-8"), _NAME), encoding="utf-8")
    shutil.rmtree(directory / CTYPES)
    made = replace(
        built,
        root=root,
        optional=(*built.optional, _NAME),
        archives=(*built.archives, archive),
        libraries=("-lffi", *built.libraries),
    )
    about = {name: value for name, value in asdict(made).items() if name != "root"}
    (root / "about.json").write_text(json.dumps(about), encoding="utf-8")
    frozen = bootstrap_modules(directory)
    program = link(directory, made.archives, made.libraries, frozen, (), guest=False, linkage=Linkage.LOADING)
    made.program.unlink()
    made.program.write_bytes(program)
    made.program.chmod(0o755)
