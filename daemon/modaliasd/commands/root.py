"""The command `root`: finds and mounts the root file system that the kernel's command line names."""

from __future__ import annotations

from modaliasd.commands.options import Option, Syntax, parse
from modaliasd.rootfs.boot import boot, start_again

ROOT = Syntax(
    "root",
    """\
Finds the file system that root= on the kernel's command line names, and mounts it at /sysroot: waits for its
device as long as one may come, loads its module, looks for the program that is to be its first. What is missing
is said, with all that came instead (docs/root.md). /init runs this, and goes on there.
""",
    (
        (
            "root --again",
            "try again where a boot did not find it, and go on there",
        ),
        ("root", "only mount it at /sysroot"),
    ),
    (
        Option("--again", "have init end everything, try again, and go on in the root file system"),
        Option("--run", "be the daemon, too: this process and one more"),
    ),
    statuses="1 if it is not mounted",
)


def run(arguments: list[str]) -> int:
    """Look for the root file system."""
    given = parse(ROOT, arguments)
    return start_again() if given.given("--again") else boot(run=given.given("--run"))
