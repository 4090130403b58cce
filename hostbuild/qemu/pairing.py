"""An image and the kernel that boots it: the one its manifest names, or another that the caller names."""

import shlex
from pathlib import Path
from typing import Any

from hostbuild import ui
from hostbuild.errors import InputError
from hostbuild.formats.archive import kernel_versions, read_image
from hostbuild.formats.manifest import manifest_path, no_manifest, read_manifest
from hostbuild.formats.sniff import Kind, require_kind, require_there
from hostbuild.kernels.image_kernel import require_vmlinuz
from hostbuild.kernels.kernel import read_vmlinuz, require_kernel, require_spec


def read_manifest_if_any(image: Path) -> dict[str, Any]:
    """Read the image's manifest; {} for an image without one. Raises InputError where there is no image."""
    require_there(image, "image", hint=f"hostbuild make-image -o {shlex.quote(str(image))}")
    require_kind(image, Kind.IMAGE, Kind.PACKED)
    return read_manifest(image) if manifest_path(image).exists() else {}


def require_kernel_for(image: Path, manifest: dict[str, Any], spec: str | None) -> Path:
    """Give the vmlinuz to boot an image with.

    spec: "deb:PACKAGE", "running" or a path; None takes the one that the manifest names, if it is unchanged.
    Raises InputError for a kernel that the image has no modules for, but for others: it could load none of them.
    """
    if spec is None and not manifest:
        raise no_manifest(image)
    if spec is None:
        return require_vmlinuz(image, manifest, ui.reporter())
    if spec.startswith("deb:") or spec == "running":
        kernel = require_kernel(spec, None, ui.reporter())
        vmlinuz, version = kernel.vmlinuz, kernel.version
    else:
        vmlinuz = require_spec(spec)
        version, _ = read_vmlinuz(vmlinuz)
    carried = _versions_in(image, manifest)
    if carried and version not in carried:
        rebuild = f"hostbuild make-image --kernel {shlex.quote(spec)} -o {shlex.quote(str(image))}"
        or_leave = "; or leave --kernel out" if manifest else ""
        raise InputError(
            f"the kernel {spec} is {version}, but the modules in {image} are for {', '.join(carried)}: "
            "none of them could be loaded",
            hint=f"make the image for this kernel: {rebuild}{or_leave}",
        )
    return vmlinuz


def _versions_in(image: Path, manifest: dict[str, Any]) -> list[str]:
    """Give the kernels that the image has modules for: from its manifest, or from the archive where that is {}."""
    if manifest.get("image", {}).get("size") == image.stat().st_size:
        return [manifest["kernel"]["version"]]
    return kernel_versions(member for segment in read_image(image) for member in segment.members)
