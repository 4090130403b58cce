"""The commands that ask the running daemon: settle, wait, status, load, freeze, may-load, poweroff."""

from __future__ import annotations

import posix
import sys

from modaliasd.commands.options import JSON_OPTION, UNLIMITED, Option, Syntax, parse
from modaliasd.core.errors import UsageError, WorldError
from modaliasd.core.printable import printable
from modaliasd.linux.control import ask
from modaliasd.linux.paths import CONTROL
from modaliasd.patience import ask_patiently

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TIMEOUT_OPTION = Option("--timeout", "give up after SECONDS; default: wait for ever", "SECONDS")
SETTLE = Syntax(
    "settle",
    """\
Waits until no walk of /sys that counts is in progress, nothing is queued or loading, and every uevent that the
kernel has sent is handled. A daemon that is being started, or started again, is waited for: within --timeout, or
else for ten seconds from its start, while it fails no more than three times.
""",
    (("settle", "wait as long as it takes"), ("settle --timeout 30", "wait for 30 seconds at most")),
    (TIMEOUT_OPTION,),
    statuses="1 if it did not settle in time",
)
WAIT = Syntax(
    "wait",
    """\
Waits until DEVICE is there and the daemon knows of it; prints its path in /sys. DEVICE is one of
  /dev/vda            a device node
  /sys/devices/...    a path in /sys
  subsystem:block     the first device of a bus or a class
  driver:e1000        the first device bound to this driver
  module:nvme         a module in the kernel
""",
    (
        ("wait /dev/vda --timeout 10", "wait for a disk, for 10 seconds at most"),
        ("wait driver:e1000", "wait until e1000 has a network card"),
    ),
    (TIMEOUT_OPTION,),
    "DEVICE",
    1,
    1,
    "1 if it did not appear in time",
)
FREEZE = Syntax(
    "freeze",
    """\
From now on loads only what /etc/modaliasd/policy.toml allows in the phase `frozen`: for devices that are
plugged in, and for what the kernel itself asks for. Only a reboot ends this.
""",
    (("freeze", "at the end of the boot, once everything needed is loaded"),),
)
MAY_LOAD = Syntax(
    "may-load",
    """\
Asks whether the policy allows the kernel's own request for NAME. The kernel's helper runs this once the
machine is frozen.
""",
    (("may-load -- net-pf-38", "whether the kernel may have the module of AF_ALG sockets"),),
    (),
    "NAME",
    1,
    1,
    "1 if the policy denies it",
)
STATUS = Syntax(
    "status",
    "Prints what the daemon is doing, one value per line.\n",
    (("status", "for people"), ("status --json", "for programs")),
    (JSON_OPTION,),
)
LOAD = Syntax(
    "load",
    """\
Loads modules by name, records them in the ledger, and waits until these loads have ended. `modaliasd why-not
MODULE` says what happened to one that was not loaded.
""",
    (("load ext4 dm-mod", "load two modules and what they need"),),
    (),
    "MODULE...",
    1,
    UNLIMITED,
)
SETTLED_SCRIPT = Syntax(
    "settled-script",
    """\
Has the ledger say that the program PATH of /etc/settled.d ended with STATUS; 126: it is not executable, and was not
run. The image's own script runs this.
""",
    (("settled-script 3 /etc/settled.d/10-test", "record that this program ended with status 3"),),
    (),
    "STATUS PATH",
    2,
    2,
)
POWEROFF = Syntax(
    "poweroff",
    """\
Writes the ledger's last line, hands the rest of the ledger to the host, and switches the machine off. STATUS,
0 to 255 (default 0), becomes the exit status of `hostbuild run`.
""",
    (("poweroff", "end with success"), ("poweroff 3", "have `hostbuild run` exit with status 3")),
    (),
    "[STATUS]",
    0,
    1,
)
SHORT = 10.0  # seconds for a request that is answered at once
LONG = 30.0  # seconds for one that waits for other work first


def settle(arguments: list[str]) -> int:
    """Wait until settled; 1 if that did not happen in time."""
    given = parse(SETTLE, arguments)
    limit = _seconds("settle", given.value("--timeout", "")) if given.given("--timeout") else None

    def words(left: float | None) -> list[str]:
        return ["settle"] if left is None else ["settle", f"{left:.3f}"]

    return int(_answer("settle", ask_patiently("settle", words, limit)) is None)


def wait(arguments: list[str]) -> int:
    """Wait for a device and print its path; 1 if it did not come in time."""
    given = parse(WAIT, arguments)
    (what,) = given.operands
    kind, colon, name = what.partition(":")
    is_path = what.startswith(("/dev/", "/sys/", "/devices/"))
    if not is_path and not (colon and name and kind in {"subsystem", "driver", "module"}):
        raise UsageError(
            f"wait: cannot wait for `{what}`: expected /dev/NAME, /sys/PATH, subsystem:NAME, driver:NAME or module:NAME"
        )
    limit = _seconds("wait", given.value("--timeout", "")) if given.given("--timeout") else None
    _check("wait", what)

    def words(left: float | None) -> list[str]:
        return ["wait", "0" if left is None else f"{left:.3f}", what]

    answer = _answer("wait", ask_patiently("wait", words, limit))
    if answer is None:
        return 1
    sys.stdout.write(f"{printable(answer['found'])}\n")
    return 0


def status(arguments: list[str]) -> int:
    """Print what the daemon is doing."""
    as_json = parse(STATUS, arguments).given("--json")
    answer = ask_daemon("status", ["status"], SHORT)
    if answer is None:
        return 1
    shown = {key: value for key, value in answer.items() if key != "ok"}
    if as_json:
        from json import dumps

        sys.stdout.write(dumps(shown) + "\n")
        return 0
    for key, value in shown.items():
        text = ", ".join(value) if isinstance(value, list) else value
        sys.stdout.write(f"{key:<14} {printable(str(text))}\n")
    return 0


def load(arguments: list[str]) -> int:
    """Load modules by name."""
    return succeeded("load", ["load", *parse(LOAD, arguments).operands], None)


def freeze(arguments: list[str]) -> int:
    """Have the policy decide from now on."""
    parse(FREEZE, arguments)
    return succeeded("freeze", ["freeze"], SHORT)


def may_load(arguments: list[str]) -> int:
    """Ask the policy; 1 if it denies."""
    return succeeded("may-load", ["may-load", *parse(MAY_LOAD, arguments).operands], LONG)


def settled_script(arguments: list[str]) -> int:
    """Record the failure of a program of /etc/settled.d."""
    status, path = parse(SETTLED_SCRIPT, arguments).operands
    return succeeded("settled-script", ["settled-script", status, *path.split()], LONG)


def poweroff(arguments: list[str]) -> int:
    """Complete the ledger and switch the machine off."""
    (exit_status,) = parse(POWEROFF, arguments).operands or ("0",)
    digits = exit_status.isascii() and exit_status.isdigit() and len(exit_status) <= 3
    if not digits or int(exit_status) > 255:
        raise UsageError(f"poweroff: invalid exit status `{exit_status}`: expected a number from 0 to 255")
    answered = succeeded("poweroff", ["exit", exit_status], LONG)
    if answered == 0:
        _power_off()
    return answered


def succeeded(command: str, words: list[str], timeout: float | None) -> int:
    """Ask the daemon; the exit status: 0 if it did what was asked, else 1."""
    return int(ask_daemon(command, words, timeout) is None)


def ask_daemon(command: str, words: list[str], timeout: float | None) -> dict[str, Any] | None:
    """Return what the daemon answers; None, with the reason on standard error, where it could not do it.

    timeout: seconds to wait for the answer, None for ever.
    """
    for word in words:
        _check(command, word)
    return _answer(command, ask(CONTROL, words, timeout))


def _check(command: str, word: str) -> None:
    if not word or len(word.split()) > 1:
        raise UsageError(f"{command}: invalid name `{word}`: a name is not empty and has no spaces")


def _answer(command: str, said: str) -> dict[str, Any] | None:
    from json import loads

    answer: dict[str, Any] = loads(said)
    if answer.get("ok"):
        return answer
    sys.stderr.write(f"modaliasd {command}: {printable(answer.get('error', 'refused'))}\n")
    if answer.get("loading"):
        sys.stderr.write(f"still loading: {printable(', '.join(answer['loading']))}\n")
    return None


def _seconds(command: str, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError as e:
        raise UsageError(f"{command}: invalid number of seconds `{text}`") from e
    if not 0 < seconds < 1e6:
        raise UsageError(
            f"{command}: invalid number of seconds `{text}`: expected more than 0 and less than a million"
        )
    return seconds


def _power_off() -> None:
    """Become busybox's poweroff; file systems are synced first."""
    posix.sync()
    for path in ("/sbin/poweroff", "/bin/poweroff", "/usr/sbin/poweroff"):
        try:
            posix.execv(path, ["poweroff", "-f"])
        except OSError:
            continue
    raise WorldError(
        "cannot run poweroff: none of /sbin/poweroff, /bin/poweroff, /usr/sbin/poweroff can be executed"
    )
