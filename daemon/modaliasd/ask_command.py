"""The verbs that ask the running daemon: settle, wait, status, coldplug, load, freeze, may-load, poweroff."""

from __future__ import annotations

import posix
import sys
from json import loads

from modaliasd.control import ask
from modaliasd.core.errors import UsageError, WorldError
from modaliasd.paths import CONTROL

HELP = {
    "settle": """\
usage: modaliasd settle [--timeout SECONDS]

Waits until no walk is under way, nothing is queued or loading, and every uevent that the kernel has made is
handled. Exit status 1 if that did not come within SECONDS (default: wait for ever).
""",
    "wait": """\
usage: modaliasd wait DEVICE [--timeout SECONDS]

Waits until DEVICE is there and the daemon knows of it; prints its path in /sys. DEVICE is one of
  /dev/vda            a node
  /sys/devices/...    a path in /sys
  subsystem:block     the first device of a bus or a class
  driver:e1000        the first device that this driver has taken
  module:nvme         a module in the kernel
Exit status 1 if it did not come within SECONDS (default: wait for ever).
""",
    "freeze": """\
usage: modaliasd freeze

From now on only what /etc/modaliasd/policy.toml allows in the phase `frozen` is loaded: for devices that are
plugged in, and for what the kernel itself asks for. There is no way back but a reboot.
""",
    "may-load": """\
usage: modaliasd may-load WORD

May the kernel have what it asks for by WORD? Exit status 1: the policy denies it. The kernel's helper asks
this once the machine is frozen.
""",
    "status": "usage: modaliasd status\n\nPrints what the daemon is at, as one JSON object.\n",
    "coldplug": """\
usage: modaliasd coldplug [--once]

Has the daemon walk /sys again and waits until it has settled. With --once no daemon is needed: this process
loads what the present devices ask for, settles and ends; exit status 1 if a load failed.
""",
    "load": """\
usage: modaliasd load MODULE...

Loads modules by name, with the ledger's account of it, and waits until these loads have ended.
""",
    "poweroff": """\
usage: modaliasd poweroff [STATUS]

Writes the end to the ledger, hands all of it to the host, and switches the machine off. STATUS (default 0) is
what `hostbuild run` ends with.
""",
}
ANSWER_MARGIN = 5.0  # seconds that the daemon may take beyond the time it was given


def run(verb: str, arguments: list[str]) -> int:
    """Ask the daemon; prints what it answers where that says something. 1: it could not be done."""
    if "--help" in arguments or "-h" in arguments:
        sys.stdout.write(HELP[verb])
        return 0
    words, timeout = _request(verb, arguments)
    if any(not word or len(word.split()) > 1 for word in words):
        raise UsageError(f"`modaliasd {verb}` takes words without spaces")
    answer = loads(ask(CONTROL, words, timeout))
    if not answer.get("ok"):
        sys.stderr.write(f"modaliasd {verb}: {answer.get('error', 'refused')}\n")
        if answer.get("loading"):
            sys.stderr.write(f"still loading: {', '.join(answer['loading'])}\n")
        return 1
    if verb == "status":
        for key, value in answer.items():
            if key != "ok":
                shown = ", ".join(value) if isinstance(value, list) else value
                sys.stdout.write(f"{key:<14} {shown}\n")
    if verb == "wait":
        sys.stdout.write(f"{answer['found']}\n")
    if verb == "poweroff":
        _power_off()
    return 0


def _request(verb: str, arguments: list[str]) -> tuple[list[str], float | None]:
    """The words to send, and how long to wait for the answer (seconds; None for ever)."""
    if verb == "settle":
        if not arguments:
            return [verb], None
        if len(arguments) == 2 and arguments[0] == "--timeout":
            seconds = _seconds(arguments[1])
            return [verb, arguments[1]], seconds + ANSWER_MARGIN
        raise UsageError(f"`modaliasd settle` takes --timeout SECONDS; got `{' '.join(arguments)}`")
    if verb == "wait":
        return _wait_request(arguments)
    if verb == "may-load":
        if len(arguments) != 1:
            raise UsageError("`modaliasd may-load` takes one word")
        return [verb, *arguments], 30.0
    if verb == "load":
        if not arguments:
            raise UsageError("`modaliasd load` wants the names of modules")
        return [verb, *arguments], None
    if verb == "poweroff":
        status = arguments[0] if arguments else "0"
        if len(arguments) > 1 or not status.isdigit() or int(status) > 255:
            raise UsageError(
                f"`modaliasd poweroff` takes one exit status from 0 to 255; got `{' '.join(arguments)}`"
            )
        return ["exit", status], 30.0
    if arguments:
        raise UsageError(f"`modaliasd {verb}` takes no argument; got `{' '.join(arguments)}`")
    return [verb], None if verb == "coldplug" else 10.0


def _wait_request(arguments: list[str]) -> tuple[list[str], float | None]:
    """The words for `wait`; a device that no wait could ever find is refused here."""
    what, *rest = arguments or [""]
    if rest and (len(rest) != 2 or rest[0] != "--timeout"):
        raise UsageError(f"`modaliasd wait` takes DEVICE and --timeout SECONDS; got `{' '.join(arguments)}`")
    kind, colon, name = what.partition(":")
    is_path = what.startswith(("/dev/", "/sys/", "/devices/"))
    if not is_path and not (colon and name and kind in {"subsystem", "driver", "module"}):
        raise UsageError(f"`{what}` is no device to wait for; see `modaliasd wait --help`")
    if not rest:
        return ["wait", "0", what], None
    return ["wait", rest[1], what], _seconds(rest[1]) + ANSWER_MARGIN


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError as e:
        raise UsageError(f"`{text}` is no number of seconds") from e
    if not 0 < seconds < 1e6:
        raise UsageError(f"`{text}` seconds: give more than 0 and less than a million")
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
        "cannot run poweroff: none of /sbin/poweroff, /bin/poweroff, /usr/sbin/poweroff can be started"
    )
