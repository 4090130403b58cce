"""The guest's part installs and runs bare; hostbuild without its packages says which one it lacks."""

import subprocess
import sys

from tests.support.places import PROJECT


def run_bare(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a module of the checkout in an interpreter that sees the standard library only."""
    paths = [str(PROJECT), str(PROJECT / "daemon")]
    code = f"import runpy, sys; sys.path[:0] = {paths}; sys.argv[1:] = {list(arguments)}; "
    code += f"runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, timeout=60, check=False
    )


def test_hostbuild_names_the_package_that_is_missing() -> None:
    """Without the extra `host` there is one line, and the command that installs it; status 111."""
    done = run_bare("hostbuild")
    assert done.returncode == 111
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "hostbuild: the Python package click is not installed: only the guest's part of modaliasd is",
        "hint: pip install 'modaliasd[host]'",
    ]
