"""The command `run`: the daemon itself. Only for its help and for wrong usage; cli.py goes straight to boot.py."""

from __future__ import annotations

from modaliasd.commands.options import Syntax, parse

RUN = Syntax(
    "run",
    """\
Runs the daemon: subscribes to uevents, loads what the devices present ask for, then what each new device asks
for, until SIGTERM. It stays in the foreground; init starts it, and starts it again if it ends. Its settings
are words of the kernel's command line (docs/settings.md), such as modaliasd.off.
""",
    examples=(("run", "serve until SIGTERM; in /etc/inittab: ::respawn:/usr/bin/modaliasd run"),),
)


def run(arguments: list[str]) -> int:
    """Run the daemon until SIGTERM."""
    parse(RUN, arguments)
    from modaliasd.service.boot import serve

    return serve(once=False)
