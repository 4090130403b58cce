"""Validates ledgers against docs/ledger.schema.json, for every test that comes by one."""

import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

SCHEMA = Path(__file__).resolve().parents[2] / "docs" / "ledger.schema.json"


@cache
def validator() -> Draft202012Validator:
    """The validator of one ledger record; the schema itself is checked first."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@cache
def _validator_of(kind: str) -> Draft202012Validator:
    """The validator of records of one type, for its plainer words."""
    schema = dict(validator().schema)
    del schema["oneOf"]
    return Draft202012Validator(schema | {"$ref": f"#/$defs/{kind}"})


def check_records(records: Iterable[Mapping[str, Any]]) -> int:
    """Assert that every record is one of the ledger's format; gives how many there were."""
    count = 0
    for count, record in enumerate(records, 1):
        if validator().is_valid(record):
            continue
        kind = str(record.get("type"))
        known = kind in validator().schema["$defs"]
        errors = [e.message for e in _validator_of(kind).iter_errors(record)] if known else ["unknown type"]
        raise AssertionError(f"record {count} {json.dumps(record)[:300]}: {'; '.join(errors)}")
    return count
