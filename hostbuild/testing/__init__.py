"""Hotplug tests of drivers in pytest: the plugin's fixtures (plugin.py), and the values that they give.

    from hostbuild.testing import Guest

    def test_a_disk_binds(guest: Guest) -> None:
        disk = guest.plug("nvme", serial="1")
        guest.expect_bound(disk, "nvme")

docs/testing.md is the tutorial. pytest loads the plugin wherever this package is installed, so importing this module
costs nothing: what is named here is imported when somebody asks for it.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hostbuild.errors import GuestError, GuestTimeoutError, HostbuildError
    from hostbuild.qemu.machine import Machine
    from hostbuild.testing.execute import Completed
    from hostbuild.testing.guest import Guest
    from hostbuild.testing.plugged import Plugged

_PLACES = {
    "Completed": "hostbuild.testing.execute",
    "Guest": "hostbuild.testing.guest",
    "GuestError": "hostbuild.errors",
    "GuestTimeoutError": "hostbuild.errors",
    "HostbuildError": "hostbuild.errors",
    "Machine": "hostbuild.qemu.machine",
    "Plugged": "hostbuild.testing.plugged",
}

__all__ = ["Completed", "Guest", "GuestError", "GuestTimeoutError", "HostbuildError", "Machine", "Plugged"]


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_PLACES[name]), name)
