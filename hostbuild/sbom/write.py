"""The bill of materials of an image as a document: `hostbuild make-image --sbom`, `hostbuild inspect --sbom`.

The libraries that write it are an extra of this project's package, `sbom`, and are imported only here.
"""

from enum import Enum
from pathlib import Path

from hostbuild.errors import WorldError
from hostbuild.fs.files import write_file

_ENDINGS = {"cyclonedx": ".cdx.json", "spdx": ".spdx.json"}


class Format(Enum):
    """A format of bills of materials; the value is its name on the command line."""

    CYCLONEDX = "cyclonedx"
    SPDX = "spdx"

    def beside(self, image: Path) -> Path:
        """Return the path of the document that lies beside an image."""
        return Path(f"{image}{_ENDINGS[self.value]}")


def beside(image: Path) -> tuple[Path, ...]:
    """Return the paths of all documents that may be written beside an image."""
    return tuple(one.beside(image) for one in Format)


def require_libraries(kind: Format) -> None:
    """Refuse before the work what would fail after it. Raises WorldError where a library is not installed."""
    try:
        import packageurl  # noqa: F401

        if kind is Format.CYCLONEDX:
            import cyclonedx  # noqa: F401
        else:
            import spdx_tools  # noqa: F401
    except ImportError as e:
        raise WorldError(
            f"a bill of materials in {kind.value} needs the Python package {e.name}, which is not installed",
            hint="pip install 'modaliasd[sbom]'",
        ) from e


def render(image: Path, kind: Format) -> str:
    """Return the document of an image. Raises ManifestError without a manifest, InputError for what is no image."""
    require_libraries(kind)
    from hostbuild.sbom.read import read_bill

    bill = read_bill(image)
    if kind is Format.CYCLONEDX:
        from hostbuild.sbom.cyclonedx import render_cyclonedx

        return render_cyclonedx(bill)
    from hostbuild.sbom.spdx import render_spdx

    return render_spdx(bill)


def write_beside(image: Path, kind: Format) -> Path:
    """Write the document beside an image; return where."""
    path = kind.beside(image)
    write_file(path, render(image, kind).encode(), "the bill of materials")
    return path
