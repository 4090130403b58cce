"""What a file is taken for: hostbuild/formats/sniff.py; and the manifest of an image that was renamed."""

import hashlib
import json
from pathlib import Path

import pytest
import zstandard

from hostbuild.errors import InputError
from hostbuild.formats.manifest import read_manifest
from hostbuild.formats.sniff import Kind, kind_of_file


def test_a_packed_file_beside_a_manifest_is_an_image(tmp_path: Path) -> None:
    """zstd's magic alone says nothing of what is inside; a manifest beside it does."""
    path = tmp_path / "micro.img"
    path.write_bytes(zstandard.compress(b"whatever"))
    assert kind_of_file(path) is Kind.PACKED
    path.with_name("micro.img.manifest.json").write_text("{}")
    assert kind_of_file(path) is Kind.IMAGE


def test_what_cannot_be_read_is_data() -> None:
    """A file whose reading fails is not guessed at."""
    assert kind_of_file(Path("/proc/self/mem")) is Kind.DATA


def test_a_renamed_image_is_told_from_others(tmp_path: Path) -> None:
    """Of several manifests of images with as many bytes the hint names the one with the image's SHA-256."""
    image = tmp_path / "new.img"
    image.write_bytes(b"070701 image")
    digest = hashlib.sha256(image.read_bytes()).hexdigest()
    for name, sha256 in (("a", "0" * 64), ("b", digest)):
        record = {"image": {"size": image.stat().st_size, "sha256": sha256}}
        (tmp_path / f"{name}.img.manifest.json").write_text(json.dumps(record))
    (tmp_path / "c.img.manifest.json").write_text("not JSON")
    with pytest.raises(InputError) as caught:
        read_manifest(image)
    assert f"mv {tmp_path}/b.img.manifest.json {tmp_path}/new.img.manifest.json" in (caught.value.hint or "")
