"""An image and the kernel that boots it: the one its manifest names, or another that the caller names."""

import shlex
from pathlib import Path
from typing import Any

from hostbuild import ui
from hostbuild.formats.manifest import manifest_path, no_manifest, read_manifest
from hostbuild.formats.sniff import Kind, require_kind, require_there
from hostbuild.imagekernel import require_vmlinuz
from hostbuild.kernel import require_kernel, require_spec


def read_manifest_if_any(image: Path) -> dict[str, Any]:
    """Read the image's manifest; {} for an image without one. Raises InputError where there is no image."""
    require_there(image, "image", hint=f"hostbuild make-image -o {shlex.quote(str(image))}")
    require_kind(image, Kind.IMAGE, Kind.PACKED)
    return read_manifest(image) if manifest_path(image).exists() else {}


def require_kernel_for(image: Path, manifest: dict[str, Any], spec: str | None) -> Path:
    """Give the vmlinuz to boot an image with.

    spec: "deb:PACKAGE", "running" or a path; None takes the one that the manifest names, if it is unchanged.
    """
    if spec is None and not manifest:
        raise no_manifest(image)
    if spec is None:
        return require_vmlinuz(image, manifest, ui.reporter())
    if spec.startswith("deb:") or spec == "running":
        return require_kernel(spec, None, ui.reporter()).vmlinuz
    return require_spec(spec)
