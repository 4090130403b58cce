"""A run as JUnit's XML, as GitLab, Jenkins and GitHub's actions read it: a suite for each kernel. Pure.

Source: the schema of Jenkins' xUnit plugin (junit-10.xsd), which all of them take.
"""

import re
from collections.abc import Sequence
from xml.etree import ElementTree

from hostbuild.matrix.results.rows import Row
from hostbuild.matrix.results.verdict import Verdict

# XML 1.0 has no way to write these, and parsers refuse a file that has one (https://www.w3.org/TR/xml/#charsets).
_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render_junit(rows: Sequence[Row], name: str) -> bytes:
    """Return the file. A cell without a result is an error, one that is not as expected a failure."""
    suites = ElementTree.Element("testsuites", name=_clean(name))
    for kernel in dict.fromkeys(row.kernel for row in rows):
        mine = [row for row in rows if row.kernel == kernel]
        suite = ElementTree.SubElement(
            suites,
            "testsuite",
            name=_clean(kernel),
            tests=str(len(mine)),
            failures=str(sum(row.verdict is Verdict.FAILED for row in mine)),
            errors=str(sum(row.verdict is Verdict.LOST for row in mine)),
            skipped="0",
            time=f"{sum(row.seconds or 0.0 for row in mine):.3f}",
        )
        for row in mine:
            _put_case(suite, row)
    ElementTree.indent(suites)
    data: bytes = ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True)
    return data + b"\n"


def _put_case(suite: ElementTree.Element, row: Row) -> None:
    case = ElementTree.SubElement(
        suite,
        "testcase",
        classname=_clean(f"{row.kernel}.{row.machine}"),
        name=_clean(f"{row.image}.{row.test}"),
        time=f"{row.seconds or 0.0:.3f}",
    )
    if row.verdict is not Verdict.PASSED:
        tag = "failure" if row.verdict is Verdict.FAILED else "error"
        first = row.complaints[0].partition("\n")[0] if row.complaints else row.verdict.value
        inner = ElementTree.SubElement(case, tag, message=_clean(first), type=row.verdict.value)
        inner.text = _clean("\n".join([*row.complaints, *([f"hint: {row.fix}"] if row.fix else [])]))
    if row.notes or row.key:
        out = ElementTree.SubElement(case, "system-out")
        out.text = _clean("\n".join([*row.notes, *([f"results: cells/{row.key}"] if row.key else [])]))


def _clean(text: str) -> str:
    return _NO_XML.sub("\ufffd", text)
