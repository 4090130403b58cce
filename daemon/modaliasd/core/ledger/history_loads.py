"""What the ledger's `load` lines come to: each load, with what only those beside it tell.

One modprobe inserts several modules, one after the other, and all their lines end with it: how long each took by itself
is until the next one of its job began. Whom a module brought along, the others' causes tell.
"""

from __future__ import annotations

from modaliasd.core.ledger.history_values import UNKNOWN, LoadHistory
from modaliasd.core.loading.cause import cause_of
from modaliasd.core.loading.outcome import FailureKind, Outcome

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    Fields = Mapping[str, Any]


def loads_of(records: list[Fields]) -> list[LoadHistory]:
    """Return the loads, with what can only be known from those that ended with them."""
    jobs: dict[int, list[Fields]] = {}
    own: dict[int, int] = {}
    for record in records:
        if _start_us(record) < 0:
            continue
        if record.get("outcome") == Outcome.OBSERVED.value:  # nobody knows which of them came by one modprobe
            own[id(record)] = max(0, record.get("end_us", UNKNOWN) - _start_us(record))
        else:
            jobs.setdefault(record.get("end_us", UNKNOWN), []).append(record)
    for end_us, job in jobs.items():
        job.sort(key=_start_us)
        for record, follower in zip(job, [*job[1:], None], strict=True):
            until = end_us if follower is None else _start_us(follower)
            own[id(record)] = max(0, until - _start_us(record))
    for_whom: dict[str, dict[str, None]] = {}  # each name once
    for record in records:
        causes = record.get("causes") or [{}]
        needer = causes[0].get("module", "") or causes[0].get("softdep", "")
        if needer:
            for_whom.setdefault(needer, {})[record.get("module", "")] = None
    brought = {needer: tuple(names) for needer, names in for_whom.items()}
    return [_load(record, own.get(id(record), UNKNOWN), brought) for record in records]


def _start_us(record: Fields) -> int:
    return int(record.get("start_us", UNKNOWN))


def _load(record: Fields, own_us: int, brought: Mapping[str, tuple[str, ...]]) -> LoadHistory:
    get = record.get
    return LoadHistory(
        get("module", ""),
        get("outcome", ""),
        tuple(cause_of(fields) for fields in get("causes", ())),
        tuple(get("deps", ())),
        get("message", ""),
        get("queued_us", UNKNOWN),
        get("start_us", UNKNOWN),
        get("end_us", UNKNOWN),
        own_us,
        brought.get(get("module", ""), ()),
        _failure(record),
        get("blocked_by", ""),
    )


def _failure(record: Fields) -> FailureKind | None:
    """Why the load was denied or failed; ledgers of before there was the field do not tell."""
    if record.get("outcome") not in {Outcome.DENIED.value, Outcome.FAILED.value}:
        return None
    try:
        return FailureKind(record.get("failure", FailureKind.UNKNOWN.value))
    except ValueError:
        return FailureKind.UNKNOWN
