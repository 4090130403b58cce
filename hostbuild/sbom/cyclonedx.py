"""A bill in CycloneDX 1.6, JSON, by cyclonedx-python-lib."""

from collections.abc import Iterable
from datetime import UTC, datetime

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import DisjunctiveLicense, LicenseExpression
from cyclonedx.model.tool import ToolRepository
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from hostbuild.sbom.bill import Bill, Kind, Licence, Part
from hostbuild.sbom.licences import together

_TYPES = {
    Kind.IMAGE: ComponentType.OPERATING_SYSTEM,
    Kind.KERNEL: ComponentType.OPERATING_SYSTEM,
    Kind.PACKAGE: ComponentType.LIBRARY,
    Kind.PYTHON: ComponentType.LIBRARY,
    Kind.MODULE: ComponentType.DEVICE_DRIVER,
    Kind.FIRMWARE: ComponentType.FIRMWARE,
    Kind.PROGRAM: ComponentType.APPLICATION,
    Kind.OVERLAY: ComponentType.FILE,
    Kind.APPENDED: ComponentType.FILE,
}
_PREFIX = "hostbuild:"


def render_cyclonedx(bill: Bill) -> str:
    """Return the document."""
    whole = _component(bill.image)
    components = {part.id: _component(part) for part in bill.parts}
    tool = Component(name="hostbuild", version=bill.tool or None, type=ComponentType.APPLICATION)
    bom = Bom(
        components=components.values(),
        serial_number=bill.serial,
        metadata=BomMetaData(
            component=whole,
            tools=ToolRepository(components=[tool]),
            timestamp=datetime.fromtimestamp(bill.epoch, UTC),
        ),
    )
    bom.register_dependency(whole, components.values())
    for part in bill.parts:
        needed = [components[one] for one in part.needs if one in components and one != part.id]
        bom.register_dependency(components[part.id], needed)
    return str(JsonV1Dot6(bom).output_as_string(indent=1)) + "\n"


def _component(part: Part) -> Component:
    facts = (("kind", part.kind.value), *part.facts)
    return Component(
        name=part.name,
        version=part.version or None,
        type=_TYPES[part.kind],
        bom_ref=part.id,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=part.sha256)] if part.sha256 else None,
        licenses=_licences(part.licences),
        purl=PackageURL.from_string(part.purl) if part.purl else None,
        properties=[Property(name=_PREFIX + key, value=value) for key, value in facts],
    )


def _licences(licences: tuple[Licence, ...]) -> Iterable[DisjunctiveLicense | LicenseExpression] | None:
    """Give one expression where SPDX has words for all, else one licence after the other, as they are called."""
    if not licences:
        return None
    if expression := together(licences):
        return [LicenseExpression(expression)]
    return [DisjunctiveLicense(name=licence.expression or licence.name) for licence in licences]
