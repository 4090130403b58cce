"""Where the kernel's source comes from: Debian's linux-source package, a tarball, or a tree.

    $XDG_CACHE_HOME/hostbuild/kernel/source/NAME-KEY/    an unpacked package or tarball; written to once

A package's key is its version and checksum, a tarball's its SHA-256: such a tree is known by its key, and
what is built from it can be kept. A tree that the user names may change at any time, and has no identity.
"""

import hashlib
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hostbuild import debs
from hostbuild.apt import Spec, parse_spec
from hostbuild.errors import CommandError, InputError
from hostbuild.formats.compress import Compressor, detect
from hostbuild.formats.sniff import Kind, instead, use_of
from hostbuild.fs import sealed
from hostbuild.fs.room import room_in
from hostbuild.fs.scratch import scratch_directory
from hostbuild.fs.usage import mark_used
from hostbuild.run import spawn
from hostbuild.ui import Reporter

DEFAULT = "deb:linux-source"  # whichever version this machine's Debian has

_BLOCK = 1 << 20
_TAR_FLAG = {
    Compressor.XZ: ["--xz"],
    Compressor.GZIP: ["--gzip"],
    Compressor.ZSTD: ["--zstd"],
    Compressor.BZIP2: ["--bzip2"],
    Compressor.NONE: [],
}


@dataclass(frozen=True, slots=True)
class SourceTree:
    """A kernel source tree.

    version: KERNELVERSION of its Makefile, "6.1.192".
    identity: names its content for ever ("linux-source-6.1 6.1.192-2 ..."); "" for a tree that may change.
    """

    path: Path
    version: str
    identity: str = ""


def parse_version(makefile: str) -> str:
    """Read KERNELVERSION from the top Makefile: VERSION.PATCHLEVEL.SUBLEVEL and EXTRAVERSION."""
    found = dict(re.findall(r"(?m)^(VERSION|PATCHLEVEL|SUBLEVEL|EXTRAVERSION) *= *(\S*)$", makefile))
    if not found.get("VERSION") or not found.get("PATCHLEVEL"):
        raise InputError("it names no VERSION and PATCHLEVEL")
    sublevel = f".{found['SUBLEVEL']}" if found.get("SUBLEVEL") else ""
    return f"{found['VERSION']}.{found['PATCHLEVEL']}{sublevel}{found.get('EXTRAVERSION', '')}"


def require_source(spec: str, report: Reporter) -> SourceTree:
    """Return a source tree: deb:PACKAGE[=VERSION][/RELEASE], the path of a tree, or of a tarball.

    What is fetched once is kept.
    """
    if spec.startswith("deb:"):
        return _from_package(parse_spec(spec.removeprefix("deb:")), report)
    path = Path(spec).absolute()
    if path.is_dir():
        return read_tree(path)
    if not path.is_file():
        raise InputError(
            f"there is no kernel source at {spec}",
            hint=f"a package is named by deb:{spec}"
            if spec.startswith("linux-source")
            else "name a tree, a tarball, or a package as deb:linux-source-6.1",
        )
    if other := instead(path, Kind.TARBALL, Kind.PACKED):
        raise InputError(f"{other} of a kernel's source", hint=use_of(path))
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    stem = path.name.partition(".tar")[0]
    return _require_unpacked(path, f"{stem}-{digest[:12]}", f"{path.name} {digest}", report)


def read_tree(path: Path, identity: str = "") -> SourceTree:
    """Look at a directory and make sure that it is a kernel tree in which nothing was built."""
    makefile = path / "Makefile"
    if not makefile.is_file() or not (path / "Kconfig").is_file():
        raise InputError(f"{path} is not a kernel source tree: it has no Makefile and Kconfig")
    try:
        version = parse_version(makefile.read_text(errors="replace"))
    except InputError as e:
        raise InputError(f"{makefile} is not the kernel's: {e}") from e
    if (path / ".config").exists() or (path / "include/config").exists():
        raise InputError(
            f"something was configured or built inside {path}, and kbuild then refuses to build outside it",
            hint=f"make -C {path} mrproper (this deletes its .config: save it first)",
        )
    return SourceTree(path, version, identity)


def _from_package(spec: Spec, report: Reporter) -> SourceTree:
    package = debs.describe_spec(spec, report)
    versioned = [depend for depend in package.depends if depend.startswith("linux-source-")]
    if versioned:  # linux-source depends on linux-source-6.1
        package = debs.describe_dependency(package, versioned[0])
    final = _directory(f"{package.name}-{package.version}-{package.sha256[:12]}")
    identity = f"{package.name} {package.version} {package.sha256}"
    if final.is_dir():
        mark_used(final)
        return read_tree(final, identity)
    with room_in(debs.cache_directory()):
        root = debs.require_unpacked(package, report)
    tarballs = sorted(root.glob("usr/src/linux-source-*.tar.*"))
    if len(tarballs) != 1:
        raise InputError(f"the package {package} holds {len(tarballs)} kernel tarballs in /usr/src, not one")
    return _require_unpacked(tarballs[0], final.name, identity, report)


def _directory(name: str) -> Path:
    return debs.cache_directory() / "kernel" / "source" / name


def _require_unpacked(tarball: Path, name: str, identity: str, report: Reporter) -> SourceTree:
    final = _directory(name)
    if not final.is_dir():
        final.parent.mkdir(parents=True, exist_ok=True)
        with scratch_directory(final.parent) as staging:
            tree = staging / "tree"
            tree.mkdir()
            _unpack(tarball, tree, report)
            read_tree(tree)
            sealed.give_name(tree, final)
    return read_tree(final, identity)


def _unpack(tarball: Path, directory: Path, report: Reporter) -> None:
    """Unpack a tarball, its top directory left out; it is fed to tar, to know how far that is."""
    with tarball.open("rb") as stream, tempfile.TemporaryFile() as complaints:
        compressor = detect(stream.read(8))
        stream.seek(0)
        argv = ["tar", "-x", *_TAR_FLAG.get(compressor, []), "--strip-components=1", "-C", str(directory)]
        inlet, outlet = os.pipe()
        try:
            child = spawn(argv, stdin=inlet, stdout=complaints, stderr=complaints)
        except BaseException:
            os.close(outlet)
            raise
        finally:
            os.close(inlet)
        with report.step(f"Unpacking {tarball.name}", tarball.stat().st_size) as advance:
            try:
                with open(outlet, "wb", buffering=0) as pipe:
                    while block := stream.read(_BLOCK):
                        pipe.write(block)
                        advance(len(block))
            except BrokenPipeError:
                pass  # tar gave up; its status and its words follow
            finally:
                status = child.wait()
        if status != 0:
            complaints.seek(0)
            words = complaints.read().decode("utf-8", "replace").strip().splitlines()[-3:]
            raise CommandError(
                f"tar could not unpack {tarball}: {'; '.join(words)}",
                argv=tuple(argv),
                status=status,
                stderr="\n".join(words),
            )
