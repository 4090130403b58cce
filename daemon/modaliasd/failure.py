"""What becomes of an error that ends a command: one line, never a traceback; and of a daemon that fails again.

Imported when something has failed, so it uses as little as it can: what cannot be imported may be what failed.

A daemon that init starts (its parent is process 1) leaves a mark in /run when it fails: how often in a row, when, and
why. The next one waits before it starts, longer each time, up to LONGEST_WAIT_S. The reason goes to the console, to
the kernel's log and to the ledger once, and again when it is another one. Failures further apart than FORGOTTEN_S are
not in a row. A daemon that was killed has not failed; init starts it again at once.

The traceback of an unexpected error goes to /run/modaliasd/crash; with `modaliasd.debug` on the kernel's command line,
or MODALIASD_DEBUG in the environment, to standard error as well.
"""

from __future__ import annotations

import posix
import sys
from time import CLOCK_BOOTTIME, clock_gettime, clock_gettime_ns, sleep

from modaliasd.core.errors import EXIT_WORLD, ModaliasdError
from modaliasd.core.ledger.write import line
from modaliasd.core.printable import printable
from modaliasd.linux.paths import CRASH, FAILURE, KMSG, LEDGER, LOCK, RUN_DIRECTORY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from modaliasd.core.ledger.write import Json

LONGEST_WAIT_S = 30
FORGOTTEN_S = 120.0  # after the last failure: a daemon that lived that long, its wait included, had started
KMSG_LIMIT = 900  # bytes of one record, as in ledger.py
READ_SIZE = 64 << 10  # bytes; more than any file read here has


def wait_s(count: int) -> int:
    """Seconds between a failure and the next start, after `count` failures in a row: 0, 2, 4, 8 ... LONGEST_WAIT_S."""
    return 0 if count < 2 else int(min(2 ** min(count - 1, 16), LONGEST_WAIT_S))


def wait_before_start() -> None:
    """Sleep until it is time to try again. A daemon that somebody else than init starts does not wait."""
    count, failed_at, _reason = read_mark(_read(FAILURE))
    rest = failed_at + wait_s(count) - clock_gettime(CLOCK_BOOTTIME)
    if _is_inits() and 0 < rest <= LONGEST_WAIT_S:
        sleep(rest)


def next_start() -> tuple[int, float, str]:
    """(failures in a row, seconds until init's next daemon starts, why the last one failed); (0, 0.0, "") after none.

    The seconds are below 0 where it has begun to start.
    """
    count, failed_at, reason = read_mark(_read(FAILURE))
    return count, failed_at + wait_s(count) - clock_gettime(CLOCK_BOOTTIME) if count else 0.0, reason


def report(command: str, error: Exception) -> int:
    """Say why the command failed; gives the exit status."""
    message = describe(error)
    status = error.exit_status if isinstance(error, ModaliasdError) else EXIT_WORLD
    if not isinstance(error, ModaliasdError):
        if _wants_traceback():
            sys.__excepthook__(type(error), error, error.__traceback__)
        if command != "run":
            message += f"; MODALIASD_DEBUG=1 modaliasd {command} shows the traceback"
        elif _write_traceback(error):
            message += f"; the traceback is in {CRASH}"
    if command == "run" and _is_inits():
        _report_daemon(message)
    else:
        _say(message)
    return status


def describe(error: Exception) -> str:
    """Return the error as one line; an unexpected one with its type, and the place in the daemon where it arose."""
    if isinstance(error, ModaliasdError):
        return _one_line(str(error))
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    return _one_line(f"unexpected {type(error).__name__}: {text}").rstrip(": ") + place(error.__traceback__)


def place(trace: TracebackType | None) -> str:
    """Return where an error arose: " (core/index/build.py, line 10)", the innermost line of ours; "" for nowhere."""
    found = ""
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        _, ours, inside = file.rpartition("/modaliasd/")
        if ours:
            found = f" ({inside}, line {trace.tb_lineno})"
        trace = trace.tb_next
    return found


def read_mark(content: bytes) -> tuple[int, float, str]:
    """(failures in a row, second of CLOCK_BOOTTIME at the last one, its reason); (0, 0.0, "") where it is no mark.

    The mark is one line: the two numbers and the reason, separated by spaces.
    """
    count, _, rest = content.decode("utf-8", "replace").strip().partition(" ")
    when, _, reason = rest.partition(" ")
    try:
        return max(0, int(count)), float(when), reason
    except ValueError:
        return 0, 0.0, ""


def _report_daemon(message: str) -> None:
    """Mark the failure for the next start, and say it if that is news."""
    now = clock_gettime(CLOCK_BOOTTIME)
    count, failed_at, known = read_mark(_read(FAILURE))
    if not 0 <= now - failed_at <= FORGOTTEN_S:
        count, known = 0, ""
    marked = _write(FAILURE, f"{count + 1} {now:.2f} {message}\n".encode("utf-8", "replace"))
    if message == known:
        return
    whole = f"the daemon failed: {message}"
    if marked:
        whole += (
            f" - it is started again, up to {LONGEST_WAIT_S} s later if it goes on failing; this is said once"
        )
    # an error's priority, so that the kernel shows it on the console, where init has the daemon's standard error, too
    if not _write(
        KMSG, f"<3>modaliasd: {printable(whole)}".encode("utf-8", "replace")[:KMSG_LIMIT] + b"\n", 0
    ):
        _say(whole)
    _write_ledger(message)


def _write_ledger(message: str) -> None:
    """Put the failure into the ledger, and on the host's channel, as a warning; not where another process writes it."""
    try:
        from modaliasd.core.settings import parse_settings
        from modaliasd.linux.config import read_command_line
        from modaliasd.linux.ledger import Ledger
        from modaliasd.linux.lock import acquire

        acquire(LOCK)
        ledger = Ledger(LEDGER, "", parse_settings(read_command_line()).channel)
        fields: dict[str, Json] = {"what": "daemon failed", "message": message}
        ledger.append(line("warning", clock_gettime_ns(CLOCK_BOOTTIME) // 1000, fields))
        ledger.flush()
    except Exception:  # noqa: BLE001 - whatever keeps the ledger from being written may be what is reported
        return


def _is_inits() -> bool:
    """Did init start this process? It will do so again. systemd does not count: it keeps what a service says.

    INVOCATION_ID: systemd.exec(5), "Environment Variables Set or Propagated by the Service Manager".
    """
    return posix.getppid() == 1 and b"INVOCATION_ID" not in posix.environ


def _wants_traceback() -> bool:
    if posix.environ.get(b"MODALIASD_DEBUG"):
        return True
    try:
        from modaliasd.core.settings import parse_settings
        from modaliasd.linux.config import read_command_line

        return parse_settings(read_command_line()).debug
    except Exception:  # noqa: BLE001 - what reads the settings may be what failed
        return False


def _write_traceback(error: Exception) -> bool:
    """Write the traceback to CRASH: by the interpreter itself, the module `traceback` may not be there."""
    usual = sys.stderr
    try:
        _make_run_directory()
        with open(CRASH, "w", encoding="utf-8", errors="backslashreplace") as sys.stderr:
            sys.__excepthook__(type(error), error, error.__traceback__)
    except Exception:  # noqa: BLE001 - without a place for it there is no traceback, and the line is said all the same
        return False
    finally:
        sys.stderr = usual
    return True


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _say(text: str) -> None:
    try:
        sys.stderr.write(f"modaliasd: {printable(text)}\n")
        sys.stderr.flush()
    except OSError:
        return


def _make_run_directory() -> None:
    try:
        posix.mkdir(RUN_DIRECTORY, 0o755)
    except OSError:
        return


def _read(path: str) -> bytes:
    try:
        descriptor = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return posix.read(descriptor, READ_SIZE)
    except OSError:
        return b""
    finally:
        posix.close(descriptor)


def _write(path: str, content: bytes, flags: int = posix.O_CREAT | posix.O_TRUNC) -> bool:
    """Write the content; False where that cannot be done."""
    _make_run_directory()
    try:
        descriptor = posix.open(path, posix.O_WRONLY | posix.O_CLOEXEC | posix.O_NOCTTY | flags, 0o644)
    except OSError:
        return False
    try:
        return posix.write(descriptor, content) == len(content)
    except OSError:
        return False
    finally:
        posix.close(descriptor)
