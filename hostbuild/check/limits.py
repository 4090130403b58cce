"""Rules for room: the image's size, and the memory that it takes to boot."""

from collections.abc import Iterator

from hostbuild.check.finding import Finding, error, fatal
from hostbuild.check.view import View


def check_limits(view: View) -> Iterator[Finding]:
    """Check the image against what the caller allows."""
    limits = view.limits
    size = view.archives.size
    if limits.max_size is not None and size > limits.max_size:
        yield error(
            "too-large",
            "image",
            f"it has {size} bytes, {size - limits.max_size} more than --max-size allows",
            "fewer modules (--learn), --compress xz, or --smallest",
        )
    if limits.memory is not None and limits.needed > limits.memory:
        yield fatal(
            "too-little-memory",
            "image",
            f"{limits.memory} MiB are not enough: it needs {limits.needed}: {limits.needed_for}",
            f"--memory {limits.needed}, or a smaller image",
        )
