"""A bill in SPDX 2.3, JSON, by spdx-tools. What SPDX has no word for is a LicenseRef, with where its name was found."""

import io
import re
from datetime import UTC, datetime

from boolean import Expression
from license_expression import Licensing, get_spdx_licensing
from spdx_tools.spdx.model import (
    Actor,
    ActorType,
    Checksum,
    ChecksumAlgorithm,
    CreationInfo,
    Document,
    ExternalPackageRef,
    ExternalPackageRefCategory,
    ExtractedLicensingInfo,
    Package,
    PackagePurpose,
    Relationship,
    RelationshipType,
    SpdxNoAssertion,
)
from spdx_tools.spdx.writer.json.json_writer import write_document_to_stream

from hostbuild.sbom.bill import Bill, Kind, Licence, Part

_PURPOSES = {
    Kind.IMAGE: PackagePurpose.OPERATING_SYSTEM,
    Kind.KERNEL: PackagePurpose.OPERATING_SYSTEM,
    Kind.PACKAGE: PackagePurpose.LIBRARY,
    Kind.PYTHON: PackagePurpose.LIBRARY,
    Kind.MODULE: PackagePurpose.DEVICE,
    Kind.FIRMWARE: PackagePurpose.FIRMWARE,
    Kind.PROGRAM: PackagePurpose.APPLICATION,
    Kind.OVERLAY: PackagePurpose.ARCHIVE,
    Kind.APPENDED: PackagePurpose.ARCHIVE,
}
_DOCUMENT = "SPDXRef-DOCUMENT"
_SOURCES = {
    Kind.MODULE: "A kernel module's MODULE_LICENSE (the kernel's Documentation/process/license-rules.rst)."
}
_USUAL_SOURCE = "A name from a Debian package's copyright file, /usr/share/doc/PACKAGE/copyright."


def render_spdx(bill: Bill) -> str:
    """Return the document."""
    document = make_document(bill)
    stream = io.StringIO()
    write_document_to_stream(document, stream, validate=False)  # tests validate; it takes seconds
    return stream.getvalue() + "\n"


def make_document(bill: Bill) -> Document:
    """Return the document as the library's value."""
    extracted: dict[str, ExtractedLicensingInfo] = {}
    licensing = get_spdx_licensing()  # which reads its list each time it is asked for
    packages = [_package(part, extracted, licensing) for part in (bill.image, *bill.parts)]
    relationships = [Relationship(_DOCUMENT, RelationshipType.DESCRIBES, _ref(bill.image.id))]
    there = {part.id for part in bill.parts}
    for part in bill.parts:
        relationships.append(Relationship(_ref(bill.image.id), RelationshipType.CONTAINS, _ref(part.id)))
        relationships += [
            Relationship(_ref(part.id), RelationshipType.DEPENDS_ON, _ref(one))
            for one in part.needs
            if one in there and one != part.id
        ]
    info = CreationInfo(
        spdx_version="SPDX-2.3",
        spdx_id=_DOCUMENT,
        name=bill.image.name,
        document_namespace=f"urn:uuid:{bill.serial}",
        creators=[Actor(ActorType.TOOL, f"hostbuild-{bill.tool}" if bill.tool else "hostbuild")],
        created=datetime.fromtimestamp(bill.epoch, UTC).replace(tzinfo=None),
    )
    found = [extracted[name] for name in sorted(extracted)]
    return Document(info, packages, relationships=relationships, extracted_licensing_info=found)


def _package(part: Part, extracted: dict[str, ExtractedLicensingInfo], licensing: Licensing) -> Package:
    references = []
    if part.purl:
        references = [ExternalPackageRef(ExternalPackageRefCategory.PACKAGE_MANAGER, "purl", part.purl)]
    declared = _declared(part, extracted, licensing)
    return Package(
        spdx_id=_ref(part.id),
        name=part.name,
        download_location=SpdxNoAssertion(),
        version=part.version or None,
        files_analyzed=False,
        checksums=[Checksum(ChecksumAlgorithm.SHA256, part.sha256)] if part.sha256 else [],
        license_concluded=SpdxNoAssertion(),
        license_declared=declared if declared is not None else SpdxNoAssertion(),
        copyright_text=SpdxNoAssertion(),
        comment="; ".join(f"{key}: {value}" for key, value in part.facts) or None,
        external_references=references,
        primary_package_purpose=_PURPOSES[part.kind],
    )


def _declared(
    part: Part, extracted: dict[str, ExtractedLicensingInfo], licensing: Licensing
) -> Expression | None:
    if not part.licences:
        return None
    words = [_word(licence, part.kind, extracted) for licence in part.licences]
    return licensing.parse(" AND ".join(f"({one})" for one in dict.fromkeys(words)))


def _word(licence: Licence, kind: Kind, extracted: dict[str, ExtractedLicensingInfo]) -> str:
    if licence.expression:
        return licence.expression
    source = "module" if kind is Kind.MODULE else "debian"
    name = f"LicenseRef-{source}-{re.sub(r'[^A-Za-z0-9.]+', '-', licence.name).strip('-') or 'unnamed'}"
    extracted.setdefault(
        name,
        ExtractedLicensingInfo(
            license_id=name,
            license_name=licence.name,
            extracted_text=licence.name,
            comment=_SOURCES.get(kind, _USUAL_SOURCE),
        ),
    )
    return name


def _ref(part: str) -> str:
    return f"SPDXRef-{part}"
