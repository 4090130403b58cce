"""Runs the README's commands in bare Debians, as on a machine that was installed a minute ago.

    make test-bare                                   both commands, on each release, as root and as a user with sudo
    make test-bare RELEASE=bookworm USER_KIND=user COMMANDS="demo test-fast"

A bare Debian is what `debootstrap --variant=minbase` makes, with make, git and sudo: the README asks for these. It
is kept as a tar file in hostbuild's cache, with the .deb files that were fetched; it is unpacked for each run and
removed afterwards. It has mounts and processes of its own, which end with this program, however that ends.
The network and the settings of apt and pip are this machine's. What is tested is HEAD, as `git archive` gives it.
"""

import argparse
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

from hostbuild.errors import HostbuildError, WorldError
from hostbuild.run import find_program, run, spawn
from scripts import bare_root
from scripts import bare_settings as settings

RELEASES = ("bookworm", "trixie")  # Debian 12 and 13
KINDS = ("root", "user")
PROJECT = Path(__file__).resolve().parents[1]
INSIDE = Path(__file__).with_name("bare-inside.sh")
_TIME_LIMIT = 90 * 60.0  # seconds for all commands in one Debian
_MEMORY_FOR_ALL = 10 << 30  # bytes; where as much is free, the Debian lies in memory: quicker than a disk


def main() -> int:
    """Run what was asked for; 0 if all commands ended with 0."""
    asked = _parse()
    if asked.inside:
        _inside(asked)
    if os.geteuid() != 0:
        _again_as_root()
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGHUP, _end)
    home = bare_root.home_directory()
    with (home / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            raise WorldError(f"another run of test-bare is under way: it holds {lock.name}") from e
        bare_root.require_namespaces()
        if _git("status", "--porcelain"):
            _say("there are changes that are not committed: they are not tried")
        bases = {
            release: bare_root.require_base(home, release, fresh=asked.fresh) for release in asked.release
        }
        failed = [
            f"{release} as {kind}"
            for release, base in bases.items()
            for kind in asked.user_kind
            if not _try(home, base, release, kind, asked)
        ]
    _say("failed: " + ", ".join(failed) if failed else "all passed")
    return bool(failed)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog="bare.py"
    )
    parser.add_argument("--release", nargs="+", default=RELEASES, help="Debian releases, by their names")
    parser.add_argument("--user-kind", nargs="+", choices=KINDS, default=KINDS, help="who runs the commands")
    parser.add_argument("--command", nargs="+", default=("demo", "test"), help="targets of the Makefile")
    parser.add_argument("--fresh", action="store_true", help="run debootstrap again, whatever is cached")
    parser.add_argument(
        "--chroot", action="store_true", help="refuse user namespaces, as many containers and all chroots do"
    )
    parser.add_argument("--inside", nargs=2, help=argparse.SUPPRESS)  # ROOT BASE: this program calls itself
    return parser.parse_args()


def _try(home: Path, base: Path, release: str, kind: str, asked: argparse.Namespace) -> bool:
    """Run the commands in a Debian of their own, with mounts and processes that end with it."""
    root = bare_root.empty(home / "run")
    argv = [
        *bare_root.OWN_WORLD,
        sys.executable,
        str(Path(__file__)),
        "--inside",
        str(root),
        str(base),
        "--release",
        release,
    ]
    argv += ["--user-kind", kind, *(["--chroot"] if asked.chroot else []), "--command", *asked.command]
    process = spawn(argv)
    try:
        return process.wait(_TIME_LIMIT) == 0
    except subprocess.TimeoutExpired:
        _say(f"{release} as {kind} was ended at the time limit of {_TIME_LIMIT:g} s")
        return False
    finally:
        process.kill()  # and with it, by --kill-child, all processes in there
        process.wait()
        bare_root.remove(root)


def _inside(asked: argparse.Namespace) -> NoReturn:
    """Make the Debian, as process 1 of its namespaces, and become bare-inside.sh."""
    root, base = map(Path, asked.inside)
    [release], [kind] = asked.release, asked.user_kind
    fits = "test" not in asked.command  # what the tests leave, machines' images above all, does not
    if fits and settings.available_memory(Path("/proc/meminfo").read_text()) > _MEMORY_FOR_ALL:
        run(["mount", "-t", "tmpfs", "-o", f"mode=755,size={_MEMORY_FOR_ALL}", "bare", root], timeout=20)
    run(["tar", "-C", root, "--numeric-owner", "-xpf", base], timeout=600)
    shown = _settle_in(root, release, kind)
    name = "root" if kind == "root" else "dev"
    how, debs = "chroot" if asked.chroot else "pivot", bare_root.debs_directory(base.parent)
    words = [str(INSIDE), str(root), how, str(debs), name]
    os.execv(INSIDE, [*words, release, *asked.command, "--", *map(str, shown)])


def _settle_in(root: Path, release: str, kind: str) -> list[Path]:
    """Give the Debian this machine's network and settings, a user, and the project; gives what it must see."""
    shown = bare_root.copy_settings(root, release)
    home = root / "root"
    if kind == "user":
        run(["chroot", root, "useradd", "-m", "-s", "/bin/bash", "dev"], timeout=20)
        (root / "etc/sudoers.d/dev").write_text("dev ALL=(ALL) NOPASSWD: ALL\n")
        home = root / "home/dev"
    project = home / "project"
    project.mkdir()
    run(["tar", "-C", project, "-x"], stdin=_git("archive", "HEAD"), timeout=60)
    owner = home.stat()
    run(["chown", "-R", f"{owner.st_uid}:{owner.st_gid}", project], timeout=60)
    return shown


def _git(*words: str) -> bytes:
    # the clone may be a user's, and this program root's
    return run(["git", "-C", PROJECT, "-c", "safe.directory=*", *words], timeout=60).stdout


def _again_as_root() -> NoReturn:
    if find_program("sudo") is None:
        raise WorldError("only root may make a bare Debian and mount in it, and there is no sudo")
    environment = [f"{name}={value}" for name, value in settings.passed_on(os.environ).items()]
    words = ["sudo", "env", f"PYTHONPATH={PROJECT}", *environment, sys.executable, *sys.argv]
    os.execvp(words[0], words)


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def _say(text: str) -> None:
    sys.stderr.write(f"test-bare: {text}\n")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except HostbuildError as error:
        _say(f"{error}{f'; hint: {error.hint}' if error.hint else ''}")
        sys.exit(error.exit_status)
