"""The manifest beside an image: IMAGE.manifest.json. Format 1, described in docs/manifest.md."""

import hashlib
import json
import os
import re
import shlex
from json.encoder import encode_basestring_ascii as _quoted
from pathlib import Path
from typing import Any

from hostbuild.errors import InputError
from hostbuild.fs.files import read_input

FORMAT = 1

# What every manifest of this format has at least: its readers rely on it.
_SHAPE: dict[str, type] = {
    "image": dict,
    "kernel": dict,
    "append": str,
    "groups": dict,
    "modules": list,
    "files": list,
}
_MODPROBES = ("busybox", "kmod")
_KERNEL_STRINGS = ("version", "sha256", "origin")
_PACKAGE_STRINGS = ("name", "version", "architecture", "sha256")
_PLAIN = re.compile(r"[A-Za-z0-9.+~:_-]+")  # what a path is made of, and a word of apt's command line


class ManifestError(InputError):
    """An image's manifest is missing, damaged or not its own; or the kernel it names is gone."""


def manifest_path(image: Path) -> Path:
    """Return the path of an image's manifest."""
    return _beside(image, ".manifest.json")


def kernel_path(image: Path) -> Path:
    """Return the path of the kernel that lies beside an image."""
    return _beside(image, ".vmlinuz")


def files_beside(image: Path) -> tuple[Path, ...]:
    """Return the files that are written, and read, with an image, also where its path is a link to it."""
    real = Path(os.path.realpath(image))
    return tuple(
        dict.fromkeys(beside(one) for one in (image, real) for beside in (manifest_path, kernel_path))
    )


def dump(manifest: dict[str, Any]) -> bytes:
    """Render a manifest as the file holds it."""
    return (_indented(manifest, "\n") + "\n").encode()


def _indented(value: object, line: str) -> str:
    """Give what json.dumps(value, indent=1) does, whose encoder for that takes three times as long.

    line: the line's end, and how far the next one is indented.
    """
    inner = line + " "
    if isinstance(value, dict) and value:
        rows = [f"{inner}{_quoted(key)}: {_indented(one, inner)}" for key, one in value.items()]
        return f"{{{','.join(rows)}{line}}}"
    if isinstance(value, list | tuple) and value:
        return f"[{','.join([inner + _indented(one, inner) for one in value])}{line}]"
    return _quoted(value) if isinstance(value, str) else json.dumps(value)


def read_manifest(image: Path) -> dict[str, Any]:
    """Read an image's manifest. Raises ManifestError where there is none, or none of this format."""
    path = manifest_path(image)
    if not path.exists():
        raise ManifestError(f"the image {image} has no manifest {path}", hint=_moved(image))
    return parse_manifest(read_input(path, "the manifest"), path, hint=_rebuild(image))


def parse_manifest(data: bytes, path: Path, hint: str = "") -> dict[str, Any]:
    """Check a manifest's bytes. Raises ManifestError for what is none of this format. path: for the messages."""
    try:
        manifest = json.loads(data)
    except (ValueError, RecursionError) as e:
        raise ManifestError(f"the manifest {path} is damaged: it is not JSON ({e})", hint=hint) from e
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ManifestError(f"the manifest {path} is not of format {FORMAT}", hint=hint)
    if trouble := _trouble(manifest):
        raise ManifestError(f"the manifest {path} is damaged: {trouble}", hint=hint)
    return manifest


def no_manifest(image: Path) -> ManifestError:
    """Make the error for an image whose kernel nobody names."""
    beside = kernel_path(image)
    return ManifestError(
        f"cannot tell which kernel {image} is for: it has no manifest {manifest_path(image).name}",
        hint=_moved(image) or f"--kernel {beside if beside.is_file() else 'VMLINUZ'}",
    )


def _beside(image: Path, ending: str) -> Path:
    """Return the file of an image's company; beside what a symlink points to, if it is not beside the symlink."""
    path = Path(f"{image}{ending}")  # with_name() takes no "." and no "/", which people name, too
    if image.is_symlink() and not path.exists():
        real = image.resolve()
        return real.with_name(real.name + ending)
    return path


def _trouble(manifest: dict[str, Any]) -> str:
    """Say what is missing in a manifest, or of a wrong type; "" if nothing is."""
    for key, kind in _SHAPE.items():
        if not isinstance(manifest.get(key), kind):
            return f"its {key!r} is missing or not a {kind.__name__}"
    for key in _KERNEL_STRINGS:
        if not isinstance(manifest["kernel"].get(key), str):
            return f"its kernel's {key!r} is missing or not a string"
    if manifest.get("modprobe", "kmod") not in _MODPROBES:
        return f"its 'modprobe' is none of {', '.join(_MODPROBES)}"
    if not all(map(_is_module, manifest["modules"])):
        return "its 'modules' have one without a name, or a size"
    package = manifest["kernel"].get("package")
    return "" if package is None or _is_package(package) else "its kernel's 'package' is invalid"


def _is_module(module: object) -> bool:
    return (
        isinstance(module, dict)
        and isinstance(module.get("name"), str)
        and isinstance(module.get("size"), int)
    )


def _is_package(package: object) -> bool:
    if not isinstance(package, dict) or not isinstance(package.get("path"), str):
        return False
    path = Path(package["path"])
    words = [*(package.get(key) for key in _PACKAGE_STRINGS), package.get("release", "none")]
    plain = all(isinstance(word, str) and _PLAIN.fullmatch(word) for word in words)
    return plain and not path.is_absolute() and ".." not in path.parts


def _moved(image: Path) -> str:
    """Find the manifest of an image that was renamed without it, by size and SHA-256: how to rename it, too."""
    size, digest = image.stat().st_size, ""
    for path in sorted(image.parent.glob("*.manifest.json")):
        try:
            told = json.loads(path.read_bytes())["image"]
            if told["size"] != size:
                continue
            digest = digest or hashlib.sha256(image.read_bytes()).hexdigest()
            if told["sha256"] != digest:
                continue
        except (OSError, ValueError, TypeError, LookupError):
            continue  # it is somebody else's
        stem = path.name.removesuffix(".manifest.json")
        pairs = [(path, manifest_path(image)), (path.with_name(f"{stem}.vmlinuz"), kernel_path(image))]
        words = [shlex.join(["mv", str(old), str(new)]) for old, new in pairs if old.is_file()]
        return f"its manifest is {path}: {'; '.join(words)}"
    return ""


def _rebuild(image: Path) -> str:
    again = shlex.join(["hostbuild", "make-image", "-o", str(image)])
    return f"{again}; or move the manifest away, and name the kernel by --kernel"
