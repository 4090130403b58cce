"""The ledger's door: what the schema allows comes in, later versions come in, nothing else does."""

import json
from collections.abc import Callable
from time import process_time
from typing import Any

import pytest

from modaliasd.core.errors import FormatError
from modaliasd.core.ledger import door
from modaliasd.core.ledger.door import CAUSE, DEPTH, MATCH, TYPES, Fields, ForeignFormatError, admit
from tests.support.ledgers import Q35
from tests.support.places import PROJECT

SCHEMA: dict[str, Any] = json.loads((PROJECT / "docs/ledger.schema.json").read_text(encoding="utf-8"))
DEFS = SCHEMA["$defs"]
REFERENCES = {  # the schema's definitions -> the door's checks
    "time": door.time,
    "count": door.count,
    "milliseconds": door.milliseconds,
    "name": door.text,
    "devpath": door.devpath,
    "names": door.names,
    "causes": door.causes,
}


def check_of(field: dict[str, Any]) -> Callable[[object], str]:
    """The check that a field of the schema stands for."""
    if "$ref" in field:
        return REFERENCES[field["$ref"].removeprefix("#/$defs/")]
    if field.get("const") is True:
        return door.flag
    if field.get("items") == {"$ref": "#/$defs/match"}:
        return door.matches
    if field.get("items") == {"$ref": "#/$defs/initcall"}:
        return door.initcalls
    if field.get("type") == "object":
        assert check_of(field["additionalProperties"]) is door.count
        return door.counts
    if field.get("type") == "integer":
        return door.status if field.get("maximum") == 255 else door.count
    if field == {"const": 1}:
        return door.count
    assert field.get("type") == "string" or "enum" in field or "const" in field, field
    return door.text


def hold(fields: Fields, properties: dict[str, Any], required: list[str]) -> None:
    assert {name: check_of(field) for name, field in properties.items()} == fields.checks
    assert set(fields.required) <= set(required)


@pytest.mark.parametrize("kind", [one["$ref"].removeprefix("#/$defs/") for one in SCHEMA["oneOf"]])
def test_the_table_is_the_schemas(kind: str) -> None:
    """Each record type of the schema has its row, with the same fields of the same kinds, and requires no other."""
    own = DEFS[kind]
    hold(
        TYPES[kind], own["properties"] | SCHEMA["properties"] | {"type": {"type": "string"}}, own["required"]
    )


def test_matches_and_causes_are_the_schemas() -> None:
    """What stands inside a device's matches and in causes has the schema's fields."""
    place = DEFS["place"]["properties"]
    hold(MATCH, place | DEFS["match"]["properties"], DEFS["match"]["required"])
    fields: dict[str, Any] = dict(place)
    for one in DEFS["cause"]["oneOf"]:
        fields |= one["properties"]
    hold(CAUSE, fields, [])


def test_a_real_ledger_comes_in_whole() -> None:
    """Every line that a daemon wrote is admitted, and is the record that JSON makes of it."""
    lines = Q35.read_bytes().splitlines()
    assert [admit(line) for line in lines] == [json.loads(line) for line in lines]


@pytest.mark.parametrize(
    "line",
    [
        '{"type":"later","t_us":5,"what":{"a":[1,2.5,null,{"b":true}]}}',
        '{"type":"load","t_us":5,"module":"x","outcome":"postponed","until":["y"]}',
        '{"type":"device","t_us":5,"devpath":"/devices/x","action":"renamed","matches":[{"module":"m","weight":3}]}',
        '{"type":"exit","status":0}',
        '{"type":"lost","seqnum":18446744073709551615}',
        ' {"type" : "walk"}\r',
        '{"type":"device","devpath":"/\\udcff","modalias":"\\ud83d\\ude00"}',
    ],
)
def test_later_and_smaller_versions_come_in(line: str) -> None:
    """Types, fields and choices that are not known here pass through; what a guest's script leaves out may lack."""
    assert admit(line.encode()) == json.loads(line)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "it is not JSON"),
        (b"hello", "it is not JSON: Expecting value at character 1"),
        (b'{"type":"x"', "it is not JSON"),
        (b"[1]", "it is not a record with a type"),
        (b'{"type":1}', "it is not a record with a type"),
        ('{"type":"é"}'.encode(), "it is not ASCII"),
        (b'{"type":"x","a":"\x1b[31m"}', "it is not JSON: Invalid control character"),
        (b'{"type":"device","t_us":2,"action":"add"}', "it has no devpath"),
        (b'{"type":"device","devpath":""}', "its devpath is not a path"),
        (b'{"type":"device","devpath":["/a"]}', "its devpath is not a path"),
        (b'{"type":"device","devpath":"/%s"}' % (b"x" * 5000), "its devpath is longer than 4096 characters"),
        (b'{"type":"device","devpath":"/\\ud800"}', "its devpath has half a character"),
        (b'{"type":"device","devpath":"/a","modalias":"x\\udfff"}', "its modalias has half a character"),
        (b'{"type":"unbound","devpath":"/a","drivers":["x\\ud800"]}', "its drivers has half a character"),
        (b'{"type":"device","devpath":"/a","driver":["x"]}', "its driver is not text"),
        (b'{"type":"device","devpath":"/a","matches":{"module":"x"}}', "its matches are not a list"),
        (b'{"type":"device","devpath":"/a","matches":[3]}', "its matches have an item that is not an object"),
        (
            b'{"type":"device","devpath":"/a","matches":[{}]}',
            "have an item that does not fit: it has no module",
        ),
        (b'{"type":"load","module":"x","outcome":"y","causes":[{"devpath":1}]}', "its devpath is not a path"),
        (b'{"type":"load","module":"x","outcome":"y","deps":["a",1]}', "its deps is not a list of names"),
        (b'{"type":"load","module":"x","outcome":"y","ms":"1"}', "its ms is not a span of time"),
        (b'{"type":"load","module":"x","outcome":"y","ms":1e999}', "its ms is not a span of time"),
        (b'{"type":"load","module":"x","outcome":"y","ms":true}', "its ms is not a span of time"),
        (b'{"type":"walk","t_us":-1}', "its t_us is not a time"),
        (b'{"type":"walk","t_us":1.5}', "its t_us is not a time"),
        (b'{"type":"walk","t_us":true}', "its t_us is not a time"),
        (b'{"type":"walk","t_us":%s}' % (b"9" * 400), "its t_us is not a time"),
        (b'{"type":"walk","t_us":%s}' % (b"9" * 5000), "a number that is none, or of thousands of digits"),
        (b'{"type":"later","t_us":"x"}', "its t_us is not a time"),
        (b'{"type":"later","n":%s}' % (b"9" * 400), "its unknown field has a number out of range"),
        (b'{"type":"later","n":[{"a":-1e999}]}', "its unknown field has a number out of range"),
        (b'{"type":"later","n":NaN}', "a number that is none"),
        (b'{"type":"trimmed","types":[5]}', "its types is not an object of counts"),
        (b'{"type":"trimmed","types":{"load":"5"}}', "its types is not an object of counts"),
        (b'{"type":"exit","status":256}', "its status is not an exit status"),
        (b'{"type":"later","n":%s%s}' % (b"[" * DEPTH, b"]" * DEPTH), "it is nested deeper than 16 levels"),
        (b'{"type":"later","n":"\\"]]","m":%s%s}' % (b"[" * 99, b"]" * 99), "it is nested deeper"),
        (b"[" * 1_000_000, "it is nested deeper"),
    ],
)
def test_what_does_not_fit_stays_outside(line: bytes, reason: str) -> None:
    """The error says which field, and what is wrong with it."""
    with pytest.raises(FormatError) as caught:
        admit(line)
    assert reason in str(caught.value)


def test_brackets_in_strings_are_no_depth() -> None:
    """Only what JSON nests counts, and side by side is not deep."""
    line = json.dumps({"type": "later", "a": "[{" * 500 + '"\\', "b": [[1]] * 500})
    assert admit(line.encode()) == json.loads(line)


def test_another_format_is_told_from_damage() -> None:
    """A start line of another format has an error of its own."""
    with pytest.raises(ForeignFormatError, match="it is of format 2; this program reads format 1"):
        admit(b'{"type":"start","t_us":1,"format":2}')


@pytest.mark.parametrize(
    "unit", [b'"', b'\\"', b'"\\', b"[", b'["', b'{"a":', b"\\", b'"[', b"9", b"\x00"], ids=repr
)
def test_a_line_costs_time_by_its_length_only(unit: bytes) -> None:
    """A megabyte of whatever confuses the search for depth is refused as soon as a megabyte of anything else."""
    line = b'{"type":"later","a":' + b"[" * 20 + unit * ((1 << 20) // len(unit))
    begin = process_time()
    with pytest.raises(FormatError):
        admit(line)
    assert process_time() - begin < 10  # quadratic would be minutes
