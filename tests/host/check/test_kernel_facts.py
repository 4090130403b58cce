"""What check knows of a kernel from its files alone: hostbuild/check/kernel.py."""

import hashlib
from pathlib import Path

import pytest

from hostbuild.check.kernel import magic_in, read_kernel, read_kernel_of
from hostbuild.kernels.kernel import Kernel
from hostbuild.ui import Silent
from tests.support.imagetree import write_vmlinuz

MAGIC = b"6.1.0-x SMP preempt mod_unload "


def test_a_kernel_that_cannot_be_unpacked(tmp_path: Path) -> None:
    """Its boot header still tells release and machine; of symbols and version magic nothing is claimed."""
    _vmlinuz, facts = read_kernel(str(write_vmlinuz(tmp_path, "6.1.0-x")), Silent())
    assert (facts.version, facts.machine) == ("6.1.0-x", 62)
    assert (facts.config, facts.vermagic, facts.exports) == (None, "", None)


@pytest.mark.slow
def test_the_configuration_beside_a_recorded_kernel(debian_kernel: Kernel, tmp_path: Path) -> None:
    """A kernel that is from no package has the one that lies beside it; where there is none, that is no error."""
    data = debian_kernel.vmlinuz.read_bytes()
    place = tmp_path / f"vmlinuz-{debian_kernel.version}"
    place.write_bytes(data)
    record = {
        "version": debian_kernel.version,
        "sha256": hashlib.sha256(data).hexdigest(),
        "vmlinuz": str(place),
    }
    image = tmp_path / "micro.img"
    _path, facts = read_kernel_of(image, {"kernel": record}, Silent())
    assert facts.exports
    assert "register_virtio_driver" not in facts.exports, "that is a module's"
    assert "_printk" in facts.exports
    assert facts.config is None
    (tmp_path / f"config-{debian_kernel.version}").write_text("CONFIG_MODULES=y\n")
    path, facts = read_kernel_of(image, {"kernel": record}, Silent())
    assert (path, facts.option("MODULES"), facts.option("RD_ZSTD")) == (place, "y", "n")


@pytest.mark.parametrize(
    ("kernel", "magic"),
    [
        (b"x\0" + MAGIC + b"\0", MAGIC.decode()),
        (b"x\0" + b"6.1.0-x (gcc 12.2) #1\0" + MAGIC + b"\0", MAGIC.decode()),
        (b"x\0" + b"6.1.0-x (gcc 12.2) #1\0\0" + MAGIC + b"\0", MAGIC.decode()),
        (b"x\0" + b"6.1.0-x (gcc 12.2) #1\0", ""),
        (MAGIC, ""),
    ],
)
def test_the_version_magic_in_a_kernel(kernel: bytes, magic: str) -> None:
    """The release and bare words between two NULs; the banner, which begins alike, is none."""
    assert magic_in(kernel, "6.1.0-x") == magic
