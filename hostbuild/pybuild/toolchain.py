"""What must be installed to build an interpreter, and what of it goes into the bytes that come out.

The same Debian packages are listed in debian-packages-python.txt. A static program has libc's code in it, so that it
counts as the compiler does.
"""

import hashlib
import platform
from collections.abc import Iterable
from pathlib import Path

from hostbuild.errors import ToolMissingError, UsageError
from hostbuild.run import find_program, run

# Debian package -> a program of it
_PROGRAMS = {
    "gcc": "gcc",
    "binutils": "ar",
    "make": "make",
    "tar": "tar",
    "xz-utils": "xz",
}
_OF_PACKAGES = {"dpkg-dev": "dpkg-source", "patch": "patch"}  # for Debian's source package
# Debian package -> a header, or a library as gcc names it
_HEADERS = {"libc6-dev": "stdio.h", "linux-libc-dev": "linux/netlink.h"}
_STATIC = {"libc6-dev": "libc.a"}
_FOR_LOADING = ("libffi-dev", "ffi.h", "libffi.so")  # what an interpreter that loads libraries takes besides
PACKAGES = (*_PROGRAMS, *_OF_PACKAGES, *_HEADERS, _FOR_LOADING[0])


def require_toolchain(*, from_package: bool, loads: bool = False) -> None:
    """Make sure that everything is there; the error names all that is missing, and the fix.

    from_package: what unpacks Debian's source packages, too. loads: what an interpreter that loads libraries needs.
    """
    programs = _PROGRAMS | (_OF_PACKAGES if from_package else {})
    missing = [package for package, program in programs.items() if find_program(program) is None]
    if "gcc" not in missing:
        missing += [package for package, header in _HEADERS.items() if not _compiles(header)]
        missing += [package for package, library in _STATIC.items() if library_file(library) is None]
        package, header, library = _FOR_LOADING
        if loads and (not _compiles(header) or library_file(library) is None):
            missing.append(package)
    if missing:
        raise missing_error(missing)


def missing_error(packages: Iterable[str]) -> ToolMissingError:
    """Make the error for Debian packages that are missing."""
    names = list(dict.fromkeys(packages))
    return ToolMissingError(
        f"an interpreter cannot be built here: {', '.join(names)} {'is' if len(names) == 1 else 'are'} missing",
        hint=f"sudo apt-get install --no-install-recommends {' '.join(names)}; or leave --python build out",
    )


def check_architecture(architecture: str) -> None:
    """Refuse another architecture than this machine's. architecture: "" for this one."""
    if architecture:
        raise UsageError(
            f"--python build makes an interpreter for this machine ({platform.machine()}), not for {architecture}",
            hint="leave --python build out: Debian's interpreter is there for every architecture",
        )


def fingerprint() -> str:
    """Return a text that changes with what else than the source decides about the bytes: gcc, ld, libc."""
    versions = [
        run([program, "--version"], timeout=20).stdout.decode("utf-8", "replace").partition("\n")[0]
        for program in ("gcc", "ld")
        if find_program(program)
    ]
    libraries = [library_file(name) for name in ("libc.a", "libm.a")]
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in libraries if path is not None]
    return "\n".join([*versions, *digests])


def loading_fingerprint() -> str:
    """Return what fingerprint() does, of the libraries that an interpreter is linked against which loads others."""
    libraries = [library_file(name) for name in ("libc.so.6", "libm.so.6", _FOR_LOADING[2])]
    return "\n".join(hashlib.sha256(path.read_bytes()).hexdigest() for path in libraries if path is not None)


def library_file(name: str) -> Path | None:
    """Return where gcc finds a library, None where it does not."""
    if find_program("gcc") is None:
        return None
    said = run(["gcc", f"-print-file-name={name}"], timeout=20, check=False).stdout.decode().strip()
    return Path(said) if said != name and Path(said).is_file() else None


def _compiles(header: str) -> bool:
    argv = ["gcc", "-E", "-include", header, "-x", "c", "/dev/null", "-o", "/dev/null"]
    return run(argv, timeout=20, check=False).status == 0
