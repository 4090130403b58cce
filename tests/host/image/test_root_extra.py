"""`make-image --with root`: what it brings, what it costs without, and the table of what the image lacks."""

from pathlib import Path

import pytest

from hostbuild.formats.initramfs.archive import read_image
from hostbuild.image.build import BuiltImage, ImageOptions, build_image
from hostbuild.image.modules.absent import absent_aliases
from hostbuild.image.sources import rootfs
from hostbuild.image.sources.daemon import require_sources
from hostbuild.image.sources.extras import Extra
from modaliasd.rootfs.report import absent_lookup

TABLES = {
    "modules.dep": b"kernel/drivers/scsi/mega.ko:\nkernel/drivers/scsi/here.ko:\n"
    b"kernel/sound/beep.ko:\nkernel/fs/xfs/xfs.ko:\n",
    "modules.alias": b"# made by hand\n"
    b"alias pci:v00001000d*sv*sd*bc*sc*i* mega\nalias pci:v00002000d*sv*sd*bc*sc*i* here\n"
    b"alias pci:v00003000d*sv*sd*bc*sc*i* beep\nalias fs-xfs xfs\n",
}


def test_the_table_has_what_leads_to_roots_and_is_not_carried() -> None:
    """A controller's driver and a file system that stay out are in it; what is carried, and what beeps, is not."""
    table = absent_aliases(TABLES, {"here"})
    assert table == b"alias pci:v00001000d*sv*sd*bc*sc*i* mega\nalias fs-xfs xfs\n"


def test_the_guest_finds_a_device_in_it() -> None:
    """The modules for a modalias, also for one of several lines; none for what no line is for."""
    find = absent_lookup(absent_aliases(TABLES, {"here"}))
    device = "pci:v00001000d0000005Bsv00001000sd00009240bc01sc04i00"
    assert find(device) == ["mega"]
    assert find(f"of:Nx\n{device}") == ["mega"]
    assert find("pci:v00002000d0000005Bsv00001000sd00009240bc01sc04i00") == []


def test_every_module_that_is_left_out_is_one() -> None:
    """Without the extra none of these is carried, and nothing that is carried needs one when it is imported."""
    sources = require_sources()
    kept = {source.name for source in rootfs.without(sources)}
    left = {source.name for source in sources} - kept
    assert {"modaliasd.rootfs.boot", "modaliasd.core.root.diagnosis", "modaliasd.linux.root.blockdev"} <= left
    assert "modaliasd.service.clients.root" in left
    assert {"modaliasd.cli", "modaliasd.service.clients.serve", "modaliasd.core.loading.priority"} <= kept


@pytest.mark.slow
@pytest.mark.net
@pytest.mark.parametrize("extras", [(), (Extra.ROOT,)])
def test_an_image_with_and_without(tmp_path: Path, extras: tuple[Extra, ...]) -> None:
    """With it: scripts, the daemon's part, the table, file systems beside a selection. Without it: none of these."""
    options = ImageOptions("deb:linux-image-amd64", modules="virtio_blk", extras=extras)
    built: BuiltImage = build_image(tmp_path / "x.img", options)
    names = {member.name for segment in read_image(built.image) for member in segment.members}
    own = {
        name
        for name in names
        if "rootfs/" in name or "/root/" in name or "micro/root" in name or "clear-root" in name
    }
    assert bool(own) == bool(extras), own
    assert any(name.endswith("modules.absent") for name in names) == bool(extras)
    assert any(name.endswith("/ext4.ko") for name in names) == bool(extras)
