"""The tables of a module tree that boot.py opens: what changes while the daemon runs counts."""

from pathlib import Path

from modaliasd.boot import open_resolver
from modaliasd.core.modprobed import EMPTY
from modaliasd.indexfile import open_index


def test_a_module_installed_while_running_is_found_with_what_it_needs(tmp_path: Path) -> None:
    """When depmod has run anew, a miss is looked up again, and modules.dep is read again with it."""
    (tmp_path / "modules.alias").write_text("alias usb:v1* usb_storage\n")
    (tmp_path / "modules.dep").write_text("kernel/usb_storage.ko:\n")
    resolver = open_resolver(EMPTY, open_index(str(tmp_path)), str(tmp_path))
    assert resolver.resolve("hid:b0003").matches == ()
    (tmp_path / "modules.dep").write_text("kernel/hid.ko:\nkernel/usbhid.ko: kernel/hid.ko\n")
    (tmp_path / "modules.alias").write_text("alias hid:b* usbhid\n")
    plan = resolver.resolve("hid:b0003")
    assert [match.module for match in plan.matches] == ["usbhid"]
    assert [step.module for step in plan.steps] == ["hid", "usbhid"]
