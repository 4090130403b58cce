"""SOURCE_DATE_EPOCH: the moment that reproducible files say they were made (reproducible-builds.org/specs)."""

import os
from contextlib import suppress

from hostbuild.errors import UsageError


def source_date_epoch() -> int:
    """Return it in seconds since 1970, 0 where it is not set. Raises UsageError."""
    text = os.environ.get("SOURCE_DATE_EPOCH", "0")
    with suppress(ValueError):
        if 0 <= int(text) <= 0xFFFFFFFF:
            return int(text)
    raise UsageError(f"SOURCE_DATE_EPOCH is {text!r}, which is not a number of whole seconds since 1970")
