"""What tests need that a machine may refuse: user namespaces, CAP_NET_ADMIN, descriptors. They skip, with the reason.

`pytest` tells at its beginning what is refused (tests/conftest.py), so that nobody takes skipped tests for passed ones.
"""

import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

_CAP_NET_ADMIN = 12  # include/uapi/linux/capability.h
_SPARE_DESCRIPTORS = 200  # what the test runner itself has open


@cache
def namespaces_refused() -> str | None:
    """Why `unshare -r -m` is refused here, as in a chroot and in many containers; None where it is not."""
    try:
        tried = subprocess.run(["unshare", "-r", "-m", "true"], capture_output=True, timeout=20, check=False)
    except OSError as e:
        return str(e)
    return None if tried.returncode == 0 else tried.stderr.decode("utf-8", "replace").strip()


@cache
def net_admin_refused() -> str | None:
    """Why this process may not join netlink groups that are for the administrator; None where it may."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    effective = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:"))
    return None if effective >> _CAP_NET_ADMIN & 1 else "CAP_NET_ADMIN is missing: not run as root"


def refusals() -> list[str]:
    """All that is refused, a line each."""
    reasons = {"user namespaces are": namespaces_refused(), "netlink groups are": net_admin_refused()}
    return [f"{what} refused here: {reason}" for what, reason in reasons.items() if reason]


def unshared(*words: str) -> list[str]:
    """The command that runs `words` (unshare's options, then a program) as root of a user namespace; or skip."""
    if reason := namespaces_refused():
        pytest.skip(f"user namespaces are refused here: {reason}")
    return ["unshare", "-r", *words]


def require_root() -> None:
    """Skip the test where it is run by a user: what it starts makes device nodes, or files of others."""
    if os.geteuid() != 0:
        pytest.skip("it needs root")


def require_net_admin() -> None:
    """Skip where a socket may not join netlink groups."""
    if reason := net_admin_refused():
        pytest.skip(reason)


@contextmanager
def descriptors(count: int) -> Iterator[None]:
    """Let this process open `count` files and more; skip where the hard limit is lower (ulimit -Hn)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + _SPARE_DESCRIPTORS
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"{wanted} open files are refused here: the hard limit is {hard}")
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
