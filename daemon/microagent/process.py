"""The agent's child processes: the one place of this package that starts any."""

from __future__ import annotations

import os
import posix
from errno import ENOENT
from fcntl import ioctl

from microagent.messages import Refused, Size, Stage, Start
from modaliasd.core.fasttypes import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from signal import NSIG, SIG_DFL, SIG_SETMASK, pthread_sigmask
    from signal import signal as set_handler
else:  # what it is made of, without the enums around it
    from _signal import NSIG, SIG_DFL, SIG_SETMASK, pthread_sigmask
    from _signal import signal as set_handler

HOME = b"/root"
ENVIRONMENT = {
    b"PATH": b"/sbin:/usr/sbin:/bin:/usr/bin",
    b"HOME": HOME,
    b"USER": b"root",
    b"LOGNAME": b"root",
    b"SHELL": b"/bin/sh",
}

_TIOCSCTTY, _TIOCSWINSZ = 0x540E, 0x5414  # include/uapi/asm-generic/ioctls.h
_STAGES = tuple(Stage)


class RefusedError(Exception):
    """A command was not started."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused)
        self.refused = refused


class Child(NamedTuple):
    """A running command. pidfd is readable once it has ended. On a terminal, stdin and stdout are its master."""

    pid: int
    pidfd: int
    stdin: int
    stdout: int
    stderr: int  # -1 on a terminal


def start(command: Start) -> Child:
    """Run a command in a session of its own. Raises RefusedError."""
    opened: list[int] = []
    try:
        if command.size is None:
            ends = [os.pipe2(os.O_CLOEXEC) for _ in range(4)]
            opened += [fd for pair in ends for fd in pair]
            (in_read, in_write), (out_read, out_write), (err_read, err_write), told = ends
            theirs = (in_read, out_write, err_write)
            ours = (in_write, out_read, err_read)
        else:
            told = os.pipe2(os.O_CLOEXEC)
            master, slave = os.openpty()
            opened += [*told, master, slave]
            ioctl(master, _TIOCSWINSZ, _winsize(command.size))
            theirs, ours = (slave, slave, slave), (master, master, -1)
        pid = os.fork()
        if pid == 0:
            _become(command, theirs, told[1])
        pidfd = os.pidfd_open(pid)  # of a child that nobody has waited for: it cannot be another's
    except OSError as e:
        for fd in opened:
            os.close(fd)
        raise RefusedError(Refused(Stage.PROCESS, e.errno or 0)) from e
    for fd in {*theirs, told[1]}:
        os.close(fd)
    said = os.read(told[0], 2)  # nothing, once the program is running: the pipe's end has been closed
    os.close(told[0])
    if said:
        os.waitpid(pid, 0)
        for fd in {*ours, pidfd} - {-1}:
            os.close(fd)
        raise RefusedError(Refused(_STAGES[said[0]], said[1]))
    for fd in {*ours} - {-1}:
        os.set_blocking(fd, False)
    return Child(pid, pidfd, *ours)


def branch(work: Callable[[int], None]) -> tuple[int, int]:
    """Do `work` in a copy of this process; return its id, and a pidfd. Raises OSError.

    work: gets a descriptor that is readable once this process has ended.
    """
    here, ours = os.pipe2(os.O_CLOEXEC)
    try:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                os.close(ours)
                work(here)
                status = 0
            finally:
                os._exit(status)
        pidfd = os.pidfd_open(pid)
    except OSError:
        os.close(ours)
        raise
    finally:
        os.close(here)
    return pid, pidfd


def resize(master: int, size: Size) -> None:
    """Tell a terminal its size; whoever is in its foreground gets SIGWINCH."""
    ioctl(master, _TIOCSWINSZ, _winsize(size))


def send_signal(child: Child, number: int) -> None:
    """Signal the command's process group, or it alone where that is another session's by now."""
    for send in (os.killpg, os.kill):
        try:
            send(child.pid, number)
        except OSError:
            continue
        return


def reap(pid: int, pidfd: int) -> tuple[int, int]:
    """Collect a child whose pidfd is readable; return its exit status and the signal that ended it, one being 0."""
    _, waited = os.waitpid(pid, 0)
    os.close(pidfd)
    code = os.waitstatus_to_exitcode(waited)
    return (code, 0) if code >= 0 else (0, -code)


def spare_from_oom(score: bytes) -> None:
    """Set how gladly the kernel ends this process where memory is short; -1000 is never (proc(5), oom_score_adj)."""
    try:
        with open("/proc/self/oom_score_adj", "wb", buffering=0) as file:
            file.write(score)
    except OSError:  # no /proc, or no right to
        pass


def _become(command: Start, streams: tuple[int, int, int], told: int) -> None:
    """Become the command, in the new process; say to `told` what failed, and end."""
    stage = Stage.PROCESS
    try:
        os.setsid()
        for number, fd in enumerate(streams):
            os.dup2(fd, number)
        if command.size is not None:
            ioctl(0, _TIOCSCTTY, 0)
        spare_from_oom(b"0")
        _forget_signals()
        stage = Stage.DIRECTORY
        _enter(command.directory)
        stage = Stage.PROGRAM
        environment = dict(ENVIRONMENT)
        for pair in command.environment:
            name, _, value = pair.partition(b"=")
            environment[name] = value
        _execute(list(command.argv), environment)
    except OSError as e:
        os.write(told, bytes([_STAGES.index(stage), (e.errno or 0) & 0xFF]))
    except Exception as e:  # noqa: BLE001 - whatever it is, an end without a word would be a riddle
        os.write(2, f"microagent: {stage.value}: {e!r}\n".encode("utf-8", "backslashreplace"))
    finally:
        os._exit(127)


def _forget_signals() -> None:
    """Have every signal do what it does by default, whatever we, or who started us, ignore or hold back."""
    pthread_sigmask(SIG_SETMASK, ())
    for number in range(1, NSIG):
        try:
            set_handler(number, SIG_DFL)
        except (OSError, ValueError):  # KILL, STOP, and those that are the C library's own
            continue


def _execute(argv: list[bytes], environment: dict[bytes, bytes]) -> None:
    """Become the program, found as execvp(3) does. Raises OSError. os.execvpe imports what an image may not have."""
    if b"/" in argv[0]:
        posix.execve(argv[0], argv, environment)
    denied: OSError | None = None
    for directory in environment[b"PATH"].split(b":"):
        try:
            posix.execve(b"/".join((directory or b".", argv[0])), argv, environment)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as e:
            denied = denied or e
    raise denied or FileNotFoundError(ENOENT, "not in PATH")


def _enter(directory: bytes) -> None:
    if directory:
        os.chdir(directory)
        return
    try:
        os.chdir(HOME)
    except OSError:
        os.chdir("/")


def _winsize(size: Size) -> bytes:
    """Return struct winsize (include/uapi/asm-generic/termios.h)."""
    return b"".join(n.to_bytes(2, "little") for n in (size.rows, size.columns, 0, 0))
