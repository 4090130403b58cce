"""Where things are in the checkout, for tests at any depth."""

from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
DOCS = PROJECT / "docs"
DATA = PROJECT / "tests" / "data"
OVERLAY = PROJECT / "rootfs-overlay"
