"""The image of these tests: one that has the driver beside this file, built for the kernel that is tested."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

DRIVER = Path(__file__).with_name("driver")


@pytest.fixture
def image(
    make_image: Callable[..., Path], build_module: Callable[..., Path], guest_kernel: str | None
) -> Path:
    """Build the driver, and an image with it."""
    missing = [program for program in ("make", "gcc") if shutil.which(program) is None]
    if missing:
        pytest.skip(f"the driver cannot be compiled here: {' and '.join(missing)} not installed")
    overlay = build_module(DRIVER, kernel=guest_kernel)
    return make_image(kernel=guest_kernel, modules="virtio", overlay=overlay)
