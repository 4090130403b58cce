"""The command `run` with options, its help, and wrong usage; without any, cli.py goes straight to boot.py."""

from __future__ import annotations

import gc
import posix

from modaliasd.commands.options import Option, Syntax, parse
from modaliasd.core.errors import UsageError, WorldError
from modaliasd.linux.paths import LEDGER

RUN = Syntax(
    "run",
    """\
Runs the daemon: subscribes to uevents, loads what the devices present ask for, then what each new device asks
for, until SIGTERM. It stays in the foreground; init starts it, and starts it again if it ends. Its settings
are words of the kernel's command line (docs/settings.md), such as modaliasd.off.

With --observe it loads nothing and changes nothing: beside udevd it writes down which modules come, and for which
device, so that `modaliasd why` and `why-not` answer on any running machine.

Where $NOTIFY_SOCKET is set, systemd hears when it is ready, what it does, and when it ends (sd_notify(3)).
""",
    (
        ("run", "serve until SIGTERM; in /etc/inittab: ::respawn:/usr/bin/modaliasd run"),
        ("run --observe", "only watch what udev, the kernel or a hand loads"),
        ("run --ready-fd 3", "as a service of s6, with 3 in its file notification-fd"),
    ),
    (
        Option("--observe", "load nothing; tell for which device others load"),
        Option("--ready-fd", "write a newline to descriptor N once ready, and close it", "N"),
    ),
)


def run(arguments: list[str]) -> int:
    """Run the daemon until SIGTERM."""
    given = parse(RUN, arguments)
    number = given.value("--ready-fd", "-1")
    if given.given("--ready-fd") and not (number.isascii() and number.isdigit() and len(number) <= 6):
        raise UsageError(f"run: invalid descriptor `{number}` for `--ready-fd`: expected a number, such as 3")
    if given.given("--observe") and posix.geteuid() != 0:
        raise WorldError(f"run --observe has to be root's: it writes the ledger, {LEDGER}")
    from modaliasd.failure import wait_before_start
    from modaliasd.service.boot import serve

    wait_before_start()
    gc.disable()  # until all is imported (cli.py)
    return serve(observe=given.given("--observe"), ready_fd=int(number))
