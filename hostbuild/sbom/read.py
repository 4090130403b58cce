"""Makes the bill of an image: its manifest says what is inside and where it came from, the image what modules say."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hostbuild.epoch import source_date_epoch
from hostbuild.formats import elf_symbols
from hostbuild.formats.compress import detect
from hostbuild.formats.elf import ElfError
from hostbuild.formats.initramfs.archive import Image, open_image
from hostbuild.formats.manifest import read_manifest
from hostbuild.formats.modules.modfile import ENDINGS
from hostbuild.formats.unpack import CompressionError, decompress
from hostbuild.sbom.bill import Bill, Kind, Part
from hostbuild.sbom.licences import KERNEL, OURS, debian_licence, module_licence
from modaliasd.core.kmod.names import module_name
from modaliasd.core.printable import printable

_PROGRAMS = {
    "daemon": "modaliasd",
    "agent": "microagent",
    "network": "micronetd",
}  # group -> what of ours is in it
_PYTHON = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*) (?P<version>[0-9][A-Za-z0-9.!+_-]*)")
_FIRMWARE = re.compile(r"(?:usr/)?lib/firmware/(?P<name>.+)|(?P<microcode>kernel/x86/microcode/.+)")
_ARCHITECTURE = "arch"


def read_bill(image: Path) -> Bill:
    """Make the bill of an image. Raises ManifestError where it has no manifest, InputError for what is no image."""
    manifest = read_manifest(image)
    found = open_image(image).require_whole()
    with image.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    kernel = manifest["kernel"]
    parts = [
        _kernel(kernel),
        *_packages(manifest),
        *_python_packages(manifest),
        *_programs(manifest),
        *_modules(found, manifest),
        *_firmware(found),
        *_overlays(manifest),
        *_appended(manifest),
    ]
    whole = Part(Kind.IMAGE, "image", _text(image.name), str(kernel["version"]), digest)
    unique = {part.id: part for part in parts}
    return Bill(whole, tuple(unique.values()), _text(manifest.get("hostbuild", "")), source_date_epoch())


def _kernel(kernel: Mapping[str, Any]) -> Part:
    facts = (("origin", _text(kernel["origin"])), (_ARCHITECTURE, _text(kernel.get("arch", ""))))
    return Part(
        Kind.KERNEL,
        "kernel",
        "linux",
        _text(kernel["version"]),
        kernel["sha256"],
        licences=(KERNEL,),
        facts=tuple(fact for fact in facts if fact[1]),
    )


def _packages(manifest: Mapping[str, Any]) -> Iterable[Part]:
    from packageurl import PackageURL

    for row in manifest.get("packages", ()):
        name, version = _text(row["name"]), _text(row["version"])
        architecture = _text(row.get("architecture", ""))
        qualifiers = {_ARCHITECTURE: architecture} if architecture else None
        yield Part(
            Kind.PACKAGE,
            _id("deb", name),
            name,
            version,
            _text(row["sha256"]),
            PackageURL("deb", "debian", name, version, qualifiers).to_string(),
            tuple(debian_licence(_text(one)) for one in row.get("licenses", ())),
            ((_ARCHITECTURE, architecture),) if architecture else (),
        )


def _python_packages(manifest: Mapping[str, Any]) -> Iterable[Part]:
    """Yield what `--with` took of the environment: files name it, with its version, as their origin."""
    from packageurl import PackageURL

    debs = {f"{row['name']} {row['version']}" for row in manifest.get("packages", ())}
    origins = {
        str(row.get("origin", "")) for row in manifest["files"] if row.get("group") in ("audit", "network")
    }
    for origin in sorted(origins - debs):
        if (match := _PYTHON.fullmatch(origin)) is not None:
            name, version = match["name"], match["version"]
            purl = PackageURL("pypi", None, name, version).to_string()
            yield Part(Kind.PYTHON, _id("pypi", name), name, version, purl=purl)


def _programs(manifest: Mapping[str, Any]) -> Iterable[Part]:
    for group, name in _PROGRAMS.items():
        if group in manifest["groups"]:
            version = _text(manifest.get("hostbuild", ""))
            yield Part(Kind.PROGRAM, _id("program", name), name, version, licences=(OURS,))


def _modules(image: Image, manifest: Mapping[str, Any]) -> Iterable[Part]:
    release = str(manifest["kernel"]["version"])
    rows = {str(row["name"]): row for row in manifest["modules"] if isinstance(row.get("path"), str)}
    inside = f"usr/lib/modules/{release}"
    places = {name: _place(image, f"{inside}/{row['path']}") for name, row in rows.items()}
    files = {**_squashed(image, inside), **image.read(filter(None, places.values()))}
    for name, row in rows.items():
        data = files.get(places[name] or f"{inside}/{row['path']}")
        info = _modinfo(data) if data is not None else {}
        facts = {
            "path": row["path"],
            "kernel": release,
            "srcversion": _first(info, "srcversion"),
            "vermagic": _first(info, "vermagic"),
            "origin": row.get("origin", ""),
            "description": _first(info, "description"),
        }
        depends = [one for one in _first(info, "depends").split(",") if one]
        yield Part(
            Kind.MODULE,
            _id("module", name),
            _text(name),
            _text(_first(info, "version") or _first(info, "srcversion") or release),
            hashlib.sha256(data).hexdigest() if data is not None else "",
            licences=tuple(module_licence(_text(one)) for one in info.get("license", ())),
            facts=tuple((key, _text(value)) for key, value in facts.items() if value),
            needs=tuple(_id("module", module_name(one)) for one in depends if module_name(one) in rows),
        )


def _place(image: Image, path: str) -> str:
    """Return where a module lies: plain, or packed; "" where it lies in a squashfs."""
    plain = path.removesuffix(".ko")
    return next((f"{plain}{end}" for end in ENDINGS if image.root.find(f"{plain}{end}") is not None), "")


def _squashed(image: Image, inside: str) -> Mapping[str, bytes]:
    """Return the modules that lie in a squashfs, by the paths at which it is mounted. Raises CommandError."""
    path = f"{inside}.squashfs"
    if image.root.find(path) is None:
        return {}
    from hostbuild.check.read import unsquashed

    return {f"{inside}/{name}": data for name, data in unsquashed(image.read([path])[path])}


def _modinfo(data: bytes) -> Mapping[str, tuple[str, ...]]:
    try:
        return elf_symbols.modinfo(decompress(detect(data), data)[0])
    except (CompressionError, ElfError):
        return {}


def _firmware(image: Image) -> Iterable[Part]:
    paths = [path for path, _ in image.root.walk() if _FIRMWARE.fullmatch(path)]
    for path, data in sorted(image.read(paths).items()):
        match = _FIRMWARE.fullmatch(path)
        assert match is not None, path
        name = match["name"] or match["microcode"]
        digest = hashlib.sha256(data).hexdigest()
        yield Part(
            Kind.FIRMWARE, _id("firmware", name), _text(name), "", digest, facts=(("path", _text(path)),)
        )


def _overlays(manifest: Mapping[str, Any]) -> Iterable[Part]:
    for number, row in enumerate(manifest.get("overlays", ())):
        name = _text(row["name"])
        yield Part(Kind.OVERLAY, f"overlay-{number}", name, sha256=_text(row["sha256"]))


def _appended(manifest: Mapping[str, Any]) -> Iterable[Part]:
    for number, row in enumerate(manifest["image"].get("appended", ())):
        yield Part(Kind.APPENDED, f"appended-{number}", _text(row["file"]), sha256=_text(row["sha256"]))


def _first(info: Mapping[str, tuple[str, ...]], key: str) -> str:
    return next(iter(info.get(key, ())), "")


def _text(value: object) -> str:
    """Give foreign text without what no document may hold."""
    return printable(str(value))


def _id(kind: str, name: str) -> str:
    """Make an identifier of what SPDX allows in one; what has other characters gets a digest, so that two stay two."""
    plain = re.sub(r"[^A-Za-z0-9.-]", "-", name)
    if plain == name or (kind == "module" and re.fullmatch(r"\w+", name, re.ASCII)):
        return f"{kind}-{plain}"
    return f"{kind}-{plain}-{hashlib.sha256(name.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"
