"""Where the running kernel's modules are, on any machine; or why there are none, in words that say what to do.

kmod looks into /lib/modules/RELEASE (modprobe(8)). NixOS has its modules elsewhere, and a kmod that knows.
"""

from __future__ import annotations

import posix

from modaliasd.core.errors import UsageError, WorldError
from modaliasd.linux.config import is_there
from modaliasd.linux.paths import MODULES

PLACES = (MODULES, "/usr/lib/modules", "/run/booted-system/kernel-modules/lib/modules")
LISTS = ("modules.dep", "modules.alias")
NO_MODULES = (
    "this kernel takes no modules (CONFIG_MODULES is off): its drivers are part of it, and none is loaded"
)
_CONTAINERS = (
    "/.dockerenv",
    "/run/.containerenv",
    "/run/systemd/container",
)  # docker, podman, nspawn and others
_OFFER = "or give --modules-dir DIR, a kernel's directory of modules"


class NoModulesError(WorldError):
    """The running kernel takes no modules: there is nothing to ask of it."""


def require_tree(release: str, places: tuple[str, ...] = PLACES) -> str:
    """Return the directory of the running kernel's modules, with depmod's lists.

    Raises NoModulesError where the kernel takes none, WorldError where there is no such directory.
    """
    for place in places:
        if all(is_there(f"{place}/{release}/{name}") for name in LISTS):
            return f"{place}/{release}"
    if not takes_modules():
        raise NoModulesError(NO_MODULES)
    raise WorldError(_why_none(release, places))


def check_tree(directory: str) -> str:
    """Return the directory, if it is a module tree: one of depmod's or of Kbuild's lists is in it. Else UsageError."""
    if any(is_there(f"{directory}/{name}") for name in ("modules.dep", "modules.order")):
        return directory
    raise UsageError(
        f"--modules-dir {directory}: no modules.dep is there; it wants a kernel's directory, as /lib/modules/6.1.0 is"
    )


def find_tree(release: str) -> str:
    """Return that directory, or, where there is none, the one where it is looked for first."""
    try:
        return require_tree(release)
    except WorldError:
        return f"{MODULES}/{release}"


def takes_modules(path: str = "/proc/modules") -> bool:
    """Return whether the running kernel takes modules at all (CONFIG_MODULES); True where /proc cannot be asked."""
    return is_there(path) or not is_there(path.rpartition("/")[0] + "/version")


def _why_none(release: str, places: tuple[str, ...]) -> str:
    start = f"there are no modules of the running kernel {release} here"
    for place in places:
        if is_there(f"{place}/{release}"):
            return f"{start}: {place}/{release} has no {' and '.join(LISTS)}; create them: depmod {release}"
    place = places[0]
    try:
        others = sorted(name for name in posix.listdir(place) if is_there(f"{place}/{name}/modules.dep"))
    except OSError:
        others = []
    start += (
        f": {place} has those of {', '.join(others)}" if others else f": {place}/{release} does not exist"
    )
    if any(map(is_there, _CONTAINERS)):
        return (
            f"{start}. This is a container, and the kernel is its host's: start it with the host's modules "
            f"(docker run -v {place}:{place}:ro), {_OFFER}"
        )
    if others:
        return f"{start}; was the kernel's package upgraded? Boot the new kernel, {_OFFER}"
    return f"{start}; install the kernel's package of modules (Debian: linux-image-{release}), {_OFFER}"
