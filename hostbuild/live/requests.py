"""What a detached guest's keeper is asked, and what it answers: JSON, checked on both sides. Pure."""

import json
from collections.abc import Mapping
from typing import Any

from hostbuild.errors import GuestError, GuestTimeoutError, HostbuildError, InputError, UsageError, WorldError

_KINDS: tuple[type[HostbuildError], ...] = (GuestTimeoutError, GuestError, UsageError, InputError, WorldError)
_WORDS: Mapping[str, tuple[str, ...]] = {  # request -> its words, all of them text
    "plug": ("device",),
    "unplug": ("id",),
    "stop": (),
    "status": (),
}


def pack_request(ask: str, **words: str) -> bytes:
    """Return a request's bytes."""
    return json.dumps({"ask": ask, **words}).encode()


def parse_request(data: bytes) -> tuple[str, dict[str, str]]:
    """Take a request apart. Raises UsageError for one that is unknown or not whole."""
    try:
        value = json.loads(data)
        ask = value.pop("ask")
        wanted = _WORDS[ask]
    except (ValueError, LookupError, AttributeError, TypeError) as e:
        raise UsageError("the guest's keeper does not know this request: it is of another version") from e
    if sorted(value) != sorted(wanted) or not all(isinstance(word, str) for word in value.values()):
        raise UsageError(f"the request {ask} has not the words that it should")
    return ask, value


def pack_answer(value: Mapping[str, Any]) -> bytes:
    """Return an answer's bytes."""
    return json.dumps({"answer": value}).encode()


def pack_error(error: HostbuildError) -> bytes:
    """Return the bytes of an answer that says what went wrong."""
    kind = next((one.__name__ for one in _KINDS if isinstance(error, one)), "GuestError")
    return json.dumps({"error": {"kind": kind, "message": str(error.args[0]), "hint": error.hint}}).encode()


def parse_answer(data: bytes) -> dict[str, Any]:
    """Return what was answered. Raises the error that was."""
    try:
        value = json.loads(data)
    except ValueError as e:
        raise WorldError("the guest's keeper gave an invalid answer") from e
    error = value.get("error") if isinstance(value, dict) else None
    if isinstance(error, dict):
        kind = next((one for one in _KINDS if one.__name__ == error.get("kind")), GuestError)
        raise kind(str(error.get("message")), hint=str(error.get("hint") or ""))
    answer = value.get("answer") if isinstance(value, dict) else None
    if not isinstance(answer, dict):
        raise WorldError("the guest's keeper gave an invalid answer")
    return answer
