"""What must be installed to build a kernel, and how make is called.

The same Debian packages are listed in debian-packages-kernel.txt, which `make setup-kernel` installs. For another
architecture than this machine's, its cross compiler comes to them (hostbuild/arch.py names the package).
"""

import os
from collections.abc import Mapping
from pathlib import Path

from hostbuild.arch import Arch, is_foreign
from hostbuild.errors import ToolMissingError
from hostbuild.kbuild.source import SourceTree
from hostbuild.run import find_program, run

# Debian package -> a program of it, or a C header
_PROGRAMS = {
    "gcc": "gcc",
    "make": "make",
    "binutils": "ld",
    "flex": "flex",
    "bison": "bison",
    "bc": "bc",
    "rsync": "rsync",
    "kmod": "depmod",
    "xz-utils": "xz",
}
_HEADERS = {
    "libc6-dev": "stdio.h",
    "libelf-dev": "gelf.h",  # objtool
    "libssl-dev": "openssl/opensslv.h",  # module signatures, certificates
}
_MENU_HEADERS = {"libncurses-dev": "ncurses.h"}
PACKAGES = (*_PROGRAMS, *_HEADERS, *_MENU_HEADERS)

_CONFIG_TIMEOUT = 300.0  # seconds; kbuild compiles its own configuration programs first

# Same source and configuration, same bytes: kbuild would put the time, the user and the host into the kernel.
_REPRODUCIBLE = {
    "KBUILD_BUILD_TIMESTAMP": "Thu Jan  1 00:00:00 UTC 1970",
    "KBUILD_BUILD_USER": "hostbuild",
    "KBUILD_BUILD_HOST": "hostbuild",
    "KBUILD_BUILD_VERSION": "1",
}


def require_toolchain(arch: Arch, *, menu: bool = False) -> None:
    """Make sure that everything is there; the error names all that is missing, and the fix.

    menu: for kbuild's menuconfig, too.
    """
    headers = _HEADERS | (_MENU_HEADERS if menu else {})
    missing = [package for package, program in _PROGRAMS.items() if find_program(program) is None]
    if "gcc" not in missing:
        missing += [package for package, header in headers.items() if not _compiles(header)]
    if is_foreign(arch) and find_program(tool(arch, "gcc")) is None:
        missing.append(arch.facts.cross_package)
    if missing:
        names = ", ".join(missing)
        kernel = f"an {arch} kernel" if is_foreign(arch) else "a kernel"
        raise ToolMissingError(
            f"{kernel} cannot be built here: {names} {'is' if len(missing) == 1 else 'are'} missing",
            hint=f"sudo apt-get install --no-install-recommends {' '.join(missing)}",
        )


def tool(arch: Arch, name: str) -> str:
    """Return what a program of the toolchain is called for an architecture: gcc, aarch64-linux-gnu-gcc."""
    return f"{arch.facts.cross}{name}" if is_foreign(arch) else name


def compiler_version(arch: Arch) -> str:
    """Return the first line of `gcc --version`, which Kconfig calls CC_VERSION_TEXT; "" where there is no gcc."""
    gcc = tool(arch, "gcc")
    if find_program(gcc) is None:
        return ""
    return run([gcc, "--version"], timeout=20).stdout.decode().partition("\n")[0]


def make_argv(source: SourceTree, objects: Path, *words: str, arch: Arch, ccache: bool = False) -> list[str]:
    """Return the command that has kbuild make something in a directory of its own.

    ccache: compile by way of ccache. Kbuild sees the same compiler version, so the configuration stays as it
    is.
    """
    facts = arch.facts
    argv = ["make", "-C", str(source.path), f"O={objects}", f"ARCH={facts.make or facts.kbuild}"]
    if is_foreign(arch):
        argv.append(f"CROSS_COMPILE={facts.cross}")
    if ccache:
        argv.append(f"CC=ccache {tool(arch, 'gcc')}")
    return [*argv, *words]


def make_environment(outer: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for kbuild: English messages, fixed stamps, no steering from outside."""
    kept = {
        name: value
        for name, value in outer.items()
        if not name.startswith(("KBUILD_", "KCONFIG_", "MAKE", "MFLAGS", "CROSS_COMPILE"))
    }
    return kept | _REPRODUCIBLE | {"LC_ALL": "C"}


def run_config_target(source: SourceTree, objects: Path, target: str, arch: Arch) -> None:
    """Have kbuild run one of its configuration targets: tinyconfig, olddefconfig and so on."""
    run(
        make_argv(source, objects, target, arch=arch),
        timeout=_CONFIG_TIMEOUT,
        env=make_environment(os.environ),
    )


def _compiles(header: str) -> bool:
    argv = ["gcc", "-E", "-include", header, "-x", "c", "/dev/null", "-o", "/dev/null"]
    return run(argv, timeout=20, check=False).status == 0
