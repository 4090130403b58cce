"""modaliasd in a Debian with systemd: beside udevd, which loads, and in place of its loading rule."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from hostbuild.kernels.kernel import Kernel
from hostbuild.qemu.boot import Boot
from hostbuild.qemu.machine import read_machine
from hostbuild.qemu.vm import VM
from modaliasd.core.ledger.explain import why_module
from modaliasd.core.ledger.history import History, history_of
from tests.support.debianroot import make_disk, write_initrd

pytestmark = pytest.mark.vm

BOOT_S = 420  # seconds until multi-user.target, on a busy machine without KVM
EARLY = "virtio_pci virtio_blk ext4"  # loaded by the initramfs
