"""The only place where hostbuild starts child processes.

Commands are argument lists, never shell text. Programs are looked for in PATH and then where Debian puts those of
the administrator (/usr/sbin), which a user's PATH leaves out; children get the same PATH. A failure becomes a
CommandError that says the command, its status and the end of its stderr; a missing program becomes a
ToolMissingError that names its package.
"""

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from hostbuild.arch import Arch
from hostbuild.errors import CommandError, ToolMissingError
from hostbuild.log import debug

_STDERR_LINES = 12
_ALSO_IN = ("/usr/local/sbin", "/usr/sbin", "/sbin")

# Which Debian package brings a program; one that is not listed is in a package of its own name.
_PACKAGE_OF = {
    "apt-cache": "apt",
    "apt-config": "apt",
    "apt-get": "apt",
    "depmod": "kmod",
    "dpkg-deb": "dpkg",
    "dpkg-source": "dpkg-dev",
    "mksquashfs": "squashfs-tools",
    "modinfo": "kmod",
    "modprobe": "kmod",
    "qemu-img": "qemu-utils",
    **{arch.facts.qemu: arch.facts.qemu_package for arch in Arch},
    "setpriv": "util-linux",
    "ssh": "openssh-client",
    "unshare": "util-linux",
    "xz": "xz-utils",
}


@dataclass(frozen=True, slots=True)
class Completed:
    """A command that ran to its end."""

    argv: tuple[str, ...]
    status: int
    stdout: bytes
    stderr: bytes


def run(
    argv: Sequence[str | Path],
    *,
    timeout: float,
    stdin: bytes = b"",
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    check: bool = True,
) -> Completed:
    """Run `argv` to its end and return what it wrote.

    timeout: seconds of wall time, after which the command is killed and a CommandError is raised.
    env: the whole environment; the caller's own where None.
    check: raise CommandError for a status other than 0.
    """
    words = tuple(map(str, argv))
    debug("run", _shown(words))
    try:
        done = subprocess.run(
            words,
            input=stdin,
            capture_output=True,
            timeout=timeout,
            cwd=cwd,
            env=child_environment(env),
            check=False,
        )
    except FileNotFoundError as e:
        raise _missing(words[0], e) from e
    except OSError as e:
        raise CommandError(
            f"cannot start {_shown(words)}: {e.strerror or e}", argv=words, status=None, stderr=""
        ) from e
    except subprocess.TimeoutExpired as e:
        tail = _tail(e.stderr or b"")
        raise CommandError(
            f"{_shown(words)} did not end within {timeout:g} s and was killed{_quoted(tail)}",
            argv=words,
            status=None,
            stderr=tail,
        ) from e
    if check and done.returncode != 0:
        tail = _tail(done.stderr)
        raise CommandError(
            f"{_shown(words)} {_how_it_ended(done.returncode)}{_quoted(tail)}",
            argv=words,
            status=done.returncode,
            stderr=tail,
        )
    return Completed(words, done.returncode, done.stdout, done.stderr)


def spawn(
    argv: Sequence[str | Path],
    *,
    stdin: int | IO[bytes] | None = subprocess.DEVNULL,
    stdout: int | IO[bytes] | None = None,
    stderr: int | IO[bytes] | None = None,
    pass_fds: Sequence[int] = (),
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    new_session: bool = False,
) -> subprocess.Popen[bytes]:
    """Start `argv` and return; the caller waits for it and ends it. Streams as in subprocess.Popen."""
    words = tuple(map(str, argv))
    debug("start", _shown(words))
    try:
        return subprocess.Popen(
            words,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            pass_fds=tuple(pass_fds),
            cwd=cwd,
            env=child_environment(env),
            start_new_session=new_session,
        )
    except FileNotFoundError as e:
        raise _missing(words[0], e) from e
    except OSError as e:
        raise CommandError(
            f"cannot start {_shown(words)}: {e.strerror or e}", argv=words, status=None, stderr=""
        ) from e


def logged_lines(argv: Sequence[str | Path], *, env: Mapping[str, str], log: Path) -> Iterator[str]:
    """Run a command, append its output to a log, both streams as one, and yield its lines.

    Whoever stops reading ends the command. Raises CommandError where it fails.
    """
    outlet, inlet = os.pipe()
    try:
        child = spawn(argv, stdout=inlet, stderr=inlet, env=env)
    except BaseException:
        os.close(outlet)
        raise
    finally:
        os.close(inlet)
    try:
        with (
            open(outlet, encoding="utf-8", errors="replace") as stream,
            log.open("a", encoding="utf-8", buffering=1) as out,
        ):
            for line in stream:
                out.write(line)
                yield line
        status = child.wait()
    finally:
        if child.poll() is None:
            child.terminate()  # make ends its own children and deletes half-written targets
            child.wait()
    if status != 0:
        words = tuple(map(str, argv))
        raise CommandError(f"{_shown(words)} {_how_it_ended(status)}", argv=words, status=status, stderr="")


def wait_for(process: subprocess.Popen[bytes], timeout: float) -> int | None:
    """Wait for a process's end and return its status, -N if signal N ended it; None if it runs on after `timeout` s."""
    try:
        return process.wait(timeout=timeout)
    except subprocess.TimeoutExpired:
        return None


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that was started with `new_session`, with all that it has started in it, and wait for it."""
    with contextlib.suppress(ProcessLookupError):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def detach(streams: IO[bytes]) -> int:
    """Go on in a process of its own, without a terminal: return 0 there, and its id in the calling one.

    streams: what it has for standard output and error. To be called while there is one thread.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()  # or both processes would write what waits in it
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    for number in (1, 2):
        os.dup2(streams.fileno(), number)
    os.close(null)
    return 0


def require_program(program: str) -> None:
    """Refuse a program that is not installed, before another one is told to start it. Raises ToolMissingError."""
    if find_program(program) is None:
        raise _missing(program, FileNotFoundError(2, "No such file or directory", program))


def child_environment(env: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return `env` (the caller's own where None) with a PATH that ends with the administrator's directories."""
    environment = dict(os.environ if env is None else env)
    there = [part for part in environment.get("PATH", os.defpath).split(os.pathsep) if part]
    added = [part for part in _ALSO_IN if part not in there]
    return {**environment, "PATH": os.pathsep.join([*there, *added])}


def find_program(name: str) -> str | None:
    """Find the program that `run` and `spawn` would start; None if there is none of that name."""
    return shutil.which(name, path=child_environment()["PATH"])


def _missing(program: str, error: FileNotFoundError) -> ToolMissingError:
    if error.filename not in (program, None):
        return ToolMissingError(f"cannot start {program} in {error.filename}: no such directory")
    package = _PACKAGE_OF.get(program, program)
    return ToolMissingError(
        f"the program {program} is not installed",
        hint=f"sudo apt-get install --no-install-recommends {package}",
    )


def _shown(words: Sequence[str]) -> str:
    """Show the command as one would type it, its middle left out if it is very long."""
    text = shlex.join(words)
    return text if len(text) <= 300 else f"{text[:200]} … {text[-80:]}"


def _how_it_ended(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    return f"was ended by {signal.Signals(-status).name}"


def _tail(stderr: bytes) -> str:
    lines = stderr.decode("utf-8", "replace").strip().splitlines()
    return "\n".join(lines[-_STDERR_LINES:])


def _quoted(tail: str) -> str:
    return f":\n{tail}" if tail else " and said nothing"
