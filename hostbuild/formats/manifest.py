"""The manifest beside an image: IMAGE.manifest.json. Format 1, described in docs/manifest.md."""

import hashlib
import json
from pathlib import Path
from typing import Any

from hostbuild.errors import InputError
from hostbuild.files import read_input

FORMAT = 1


class ManifestError(InputError):
    """An image's manifest is missing, damaged or not its own; or the kernel it names is gone."""


def manifest_path(image: Path) -> Path:
    """Give the path of an image's manifest."""
    return image.with_name(image.name + ".manifest.json")


def files_beside(image: Path) -> tuple[Path, ...]:
    """Give the files that are written, and read, with an image, also where its path is a link to it."""
    return (manifest_path(image), manifest_path(image.resolve()))


def dump(manifest: dict[str, Any]) -> bytes:
    """Render a manifest as the file holds it."""
    return json.dumps(manifest, indent=1, ensure_ascii=True).encode() + b"\n"


def read_manifest(image: Path) -> dict[str, Any]:
    """Read an image's manifest. Raises ManifestError where there is none, or none of this format."""
    path = manifest_path(image)
    if not path.exists():
        raise ManifestError(f"the image {image} has no manifest {path}")
    data = read_input(path, "the manifest")
    try:
        manifest = json.loads(data)
    except ValueError as e:
        raise ManifestError(f"cannot read the manifest {path}: {e}") from e
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ManifestError(
            f"the manifest {path} is not of format {FORMAT}", hint=f"hostbuild make-image -o {image}"
        )
    return manifest


def require_vmlinuz(image: Path, manifest: dict[str, Any]) -> Path:
    """Give the kernel that the image was made for. Raises ManifestError where it is gone or has changed."""
    kernel = manifest["kernel"]
    path = Path(kernel["vmlinuz"])
    rebuild = f"hostbuild make-image -o {image}"
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as e:
        raise ManifestError(
            f"cannot read the kernel {path}, which {image} was made for: {e.strerror}", hint=rebuild
        ) from e
    if digest != kernel["sha256"]:
        raise ManifestError(
            f"the kernel {path} is no longer the one that {image} was made for (its SHA-256 has changed)",
            hint=rebuild,
        )
    return path
