"""Bills of materials, held against their validators: of an image with hostile names, and of a real one."""

import hashlib
import io
import json
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from hostbuild.errors import WorldError
from hostbuild.formats.initramfs import newc
from hostbuild.formats.manifest import dump, manifest_path
from hostbuild.image.build import BuiltImage
from hostbuild.main import status_of
from hostbuild.sbom.write import Format, render, require_libraries, write_beside
from tests.support.commandline import invoke
from tests.support.hostile import EVIL
from tests.support.komaker import FakeModule, module_bytes

EVIL_NAME = EVIL.replace("/", "|").replace("\n", "|")
INSIDE = "usr/lib/modules/6.1.0-t"
MODULES = {"plain": FakeModule("plain"), "with_dash": FakeModule("with-dash", needs=["plain"])}


def archive_of(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    archive = newc.Writer(out.write)
    for name in ("usr", "usr/lib", "usr/lib/firmware", "usr/lib/modules", INSIDE, f"{INSIDE}/kernel"):
        archive.add(newc.Member(name, stat.S_IFDIR | 0o755))
    for name, data in files.items():
        archive.add(newc.Member(name, stat.S_IFREG | 0o644), data)
    archive.close()
    return out.getvalue()


def write_made_up(directory: Path, *, evil: str = EVIL_NAME) -> Path:
    """An image of two modules, a firmware and a package, of which everything that may be foreign is hostile."""
    files = {
        **{f"{INSIDE}/{one.file}": module_bytes(one) for one in MODULES.values()},
        f"usr/lib/firmware/{evil}.bin": b"firmware",
        "usr/lib/firmware/a_b.bin": b"1",
        "usr/lib/firmware/a-b.bin": b"2",
    }
    image = directory / "x.img"
    image.write_bytes(archive_of(files))
    manifest = {
        "format": 1,
        "hostbuild": evil,
        "image": {"file": "x.img", "appended": [{"file": evil, "sha256": "0" * 64}]},
        "kernel": {"version": "6.1.0-t", "sha256": "1" * 64, "origin": evil},
        "append": "",
        "groups": {"daemon": {}, "network": {}},
        "modules": [
            {"name": name, "path": one.file, "size": 1, "origin": evil} for name, one in MODULES.items()
        ]
        + [{"name": evil, "path": evil, "size": 1}],
        "packages": [
            {"name": evil, "version": evil, "sha256": "2" * 64, "licenses": [evil, "GPL-2"]},
            {
                "name": "libstdc++6",
                "version": "1:2~3",
                "architecture": "amd64",
                "sha256": "3" * 64,
                "licenses": ["LGPL-2.1+", "Expat or GPL-2+"],
            },
        ],
        "overlays": [{"name": evil, "sha256": "4" * 64}],
        "files": [{"path": "x", "mode": "100644", "group": "network", "origin": "pyroute2 0.9.7"}],
    }
    manifest_path(image).write_bytes(dump(manifest))
    return image


def require_valid(text: str, kind: Format, directory: Path) -> Any:
    """Ask the library's validator; give the document's JSON."""
    if kind is Format.CYCLONEDX:
        assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    else:
        path = directory / "x.spdx.json"
        path.write_text(text)
        assert validate_full_spdx_document(parse_file(str(path))) == []
    return json.loads(text)


@pytest.mark.parametrize("kind", Format)
def test_hostile_names_make_a_valid_document(kind: Format, tmp_path: Path) -> None:
    """Names that no document may hold are written as escapes, and no two parts become one."""
    found = require_valid(render(write_made_up(tmp_path), kind), kind, tmp_path)
    parts = found["components"] if kind is Format.CYCLONEDX else found["packages"][1:]
    # kernel, two packages, one of Python, two programs, three modules, three firmware files, overlay, image behind
    assert len(parts) == 1 + 2 + 1 + 2 + 3 + 3 + 1 + 1
    assert "\\u001b" not in json.dumps(found)


def test_what_cyclonedx_says(tmp_path: Path) -> None:
    """Package URLs, licences, hashes of what lies in the image, and who needs whom."""
    image = write_made_up(tmp_path, evil="tame")
    found = json.loads(render(image, Format.CYCLONEDX))
    parts = {one["bom-ref"]: one for one in found["components"]}
    package = next(one for one in parts.values() if one["name"] == "libstdc++6")
    assert package["purl"] == "pkg:deb/debian/libstdc%2B%2B6@1:2~3?arch=amd64"
    assert package["licenses"] == [{"expression": "LGPL-2.1-or-later AND (MIT OR GPL-2.0-or-later)"}]
    module = parts["module-with-dash"]
    assert module["name"] == "with_dash"
    assert module["licenses"] == [{"expression": "GPL-2.0-only"}]
    assert module["hashes"][0]["content"] == hashlib.sha256(module_bytes(MODULES["with_dash"])).hexdigest()
    assert {one["name"]: one["value"] for one in module["properties"]}["hostbuild:kernel"] == "6.1.0-t"
    assert parts["pypi-pyroute2"]["purl"] == "pkg:pypi/pyroute2@0.9.7"
    assert (
        found["metadata"]["component"]["hashes"][0]["content"]
        == hashlib.sha256(image.read_bytes()).hexdigest()
    )


@pytest.mark.parametrize("kind", Format)
def test_the_same_image_has_the_same_document(
    kind: Format, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time is SOURCE_DATE_EPOCH, or 1970; its number follows from the content; a changed image has another."""
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    image = write_made_up(tmp_path)
    first = render(image, kind)
    assert render(image, kind) == first
    assert "1970-01-01T00:00:00" in first
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert "2023-11-14T22:13:20" in render(image, kind)
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    image.write_bytes(image.read_bytes() + bytes(4))
    number = {Format.CYCLONEDX: "serialNumber", Format.SPDX: "documentNamespace"}[kind]
    assert json.loads(render(image, kind))[number] != json.loads(first)[number]


def test_without_the_library_it_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra of the package is named."""
    monkeypatch.setitem(sys.modules, "spdx_tools", None)
    with pytest.raises(WorldError, match="needs the Python package spdx_tools") as told:
        require_libraries(Format.SPDX)
    assert "modaliasd[sbom]" in told.value.hint


def test_inspect_prints_or_writes_it(tmp_path: Path) -> None:
    """To standard output, or to a file; two wishes at once are refused."""
    image = write_made_up(tmp_path)
    done = invoke("inspect", image, "--sbom", "cyclonedx")
    assert (done.exit_code, done.stdout) == (0, render(image, Format.CYCLONEDX))
    out = tmp_path / "bill.json"
    assert status_of(["inspect", str(image), "--sbom", "spdx", "-o", str(out)]) == 0
    assert out.read_text() == render(image, Format.SPDX)
    assert status_of(["inspect", str(image), "--sbom", "spdx", "--json"]) == 100
    assert status_of(["inspect", str(image), "-o", str(image)]) == 100
    assert status_of(["inspect", str(image), "-o", str(tmp_path / "x.txt")]) == 100
    manifest_path(image).unlink()
    assert status_of(["inspect", str(image), "--sbom", "spdx"]) == 100


def test_modules_in_a_squashfs(tmp_path: Path) -> None:
    """They are read out of it: what stands in a bill does not depend on how the modules are stored."""
    image = write_made_up(tmp_path, evil="tame")
    plain = json.loads(render(image, Format.CYCLONEDX))
    for module in MODULES.values():
        path = tmp_path / "tree" / module.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(module_bytes(module))
    packed = tmp_path / "packed.squashfs"
    argv = ["mksquashfs", str(tmp_path / "tree"), str(packed), "-quiet", "-no-progress"]
    subprocess.run(argv, check=True, capture_output=True, timeout=60)
    image.write_bytes(archive_of({f"{INSIDE}.squashfs": packed.read_bytes()}))
    squashed = json.loads(render(image, Format.CYCLONEDX))

    def modules(bill: Any) -> list[Any]:
        return [one for one in bill["components"] if one["bom-ref"].startswith("module-")]

    assert modules(squashed) == modules(plain)


@pytest.mark.slow
@pytest.mark.net
@pytest.mark.parametrize("kind", Format)
def test_a_real_image_has_a_valid_document(kind: Format, image: BuiltImage, tmp_path: Path) -> None:
    """All modules with licence and version magic, packages with architecture; that of the kernel with licences."""
    copy = tmp_path / "micro.img"
    copy.symlink_to(image.image)
    path = write_beside(copy, kind)
    assert path == kind.beside(copy)
    found = require_valid(path.read_text(), kind, tmp_path)
    if kind is Format.SPDX:
        assert len(found["packages"]) > len(image.manifest["modules"]) + len(image.manifest["packages"])
        return
    kinds: dict[str, list[Any]] = {}
    for one in found["components"]:
        facts = {row["name"].removeprefix("hostbuild:"): row["value"] for row in one["properties"]}
        kinds.setdefault(facts["kind"], []).append((one, facts))
    assert len(kinds["module"]) == len(image.manifest["modules"])
    assert all(one["licenses"] and facts["vermagic"] for one, facts in kinds["module"])
    assert len(kinds["package"]) == len(image.manifest["packages"])
    assert all("?arch=" in one["purl"] for one, _ in kinds["package"])
    assert any(one.get("licenses") for one, _ in kinds["package"] if one["name"].startswith("linux-image"))
