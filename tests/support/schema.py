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
def _validator_of(kind: str) -> Draft202012Validator | None:
    """The validator of records of one type, None for a type that there is not.

    A record is held against its own type's part only: against `oneOf` of all it would take ten times as long.
    """
    schema = dict(validator().schema)
    if kind not in schema["$defs"] or {"$ref": f"#/$defs/{kind}"} not in schema.pop("oneOf"):
        return None
    return Draft202012Validator(schema | {"$ref": f"#/$defs/{kind}"})


def check_records(records: Iterable[Mapping[str, Any]]) -> int:
    """Assert that every record is one of the ledger's format; gives how many there were."""
    count = 0
    for count, record in enumerate(records, 1):
        own = _validator_of(str(record.get("type")))
        if own is not None and own.is_valid(record):
            continue
        errors = [e.message for e in own.iter_errors(record)] if own is not None else ["unknown type"]
        raise AssertionError(f"record {count} {json.dumps(record)[:300]}: {'; '.join(errors)}")
    return count
