"""The command line: opens the real world and hands it in.

`modaliasd run` is the boot path and imports nothing that it does not need; every other verb lives in a
module of its own that is imported when it is asked for.
"""

from __future__ import annotations

import gc
import sys

from modaliasd import __version__
from modaliasd.core.errors import ModaliasdError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

USAGE = """\
usage: modaliasd VERB [ARGUMENT...]

Loads the kernel modules that this machine's devices ask for, and says which device caused each.

the daemon
  run                     subscribe to uevents, coldplug, then hotplug, for ever
  coldplug --once         load what the present devices ask for, settle, end (1: a load failed)

asking the daemon
  settle [--timeout S]    wait until nothing is queued, loading or unread (1: not in time)
  wait DEVICE [--timeout S]
                          wait until a device, a driver or a module is there (1: not in time)
  status                  what it is at
  coldplug                walk /sys again, and wait until settled
  load MODULE...          load modules by name, with the ledger's account of it
  freeze                  from now on load only what the policy allows (docs/policy.md)
  poweroff [STATUS]       write the end to the ledger, hand it to the host, switch the machine off

reading
  tree [--ledger FILE]    devices, what they matched, what was loaded, what drives them
  why MODULE|DEVICE       which devices caused a load; what became of a device
  why-not MODULE          why a module is not loaded, or not at work
  ledger [--follow]       the ledger itself, a line a record
  audit                   count the devices by libudev, and compare with the ledger (1: they disagree)
  check-config            what in modprobe.d and policy.toml does not do what it says (1: something)
  match MODALIAS...       which modules a modalias stands for; `-` reads them from standard input

`modaliasd VERB --help` says more. docs/ledger.md describes the ledger, /run/modaliasd/ledger.jsonl.
"""


def _run(arguments: list[str]) -> int:
    gc.disable()  # what is imported stays: looking through it for garbage takes 3 % of the way to the first modprobe
    from modaliasd.boot import run

    return run(arguments)


def _coldplug(arguments: list[str]) -> int:
    if "--once" in arguments:
        from modaliasd.boot import coldplug_once

        return coldplug_once([a for a in arguments if a != "--once"])
    return _ask("coldplug")(arguments)


def _ask(verb: str) -> Callable[[list[str]], int]:
    def run(arguments: list[str]) -> int:
        from modaliasd import ask_command

        return ask_command.run(verb, arguments)

    return run


def _tree(arguments: list[str]) -> int:
    from modaliasd import tree_command

    return tree_command.run(arguments)


def _why(arguments: list[str]) -> int:
    from modaliasd import why_command

    return why_command.run_why(arguments)


def _why_not(arguments: list[str]) -> int:
    from modaliasd import why_command

    return why_command.run_why_not(arguments)


def _ledger(arguments: list[str]) -> int:
    from modaliasd import ledger_command

    return ledger_command.run(arguments)


def _audit(arguments: list[str]) -> int:
    from modaliasd import audit_command

    return audit_command.run(arguments)


def _match(arguments: list[str]) -> int:
    from modaliasd import match_command

    return match_command.run(arguments, sys.stdin, sys.stdout)


def _check_config(arguments: list[str]) -> int:
    from modaliasd import check_config_command

    return check_config_command.run(arguments, sys.stdout)


VERBS: dict[str, Callable[[list[str]], int]] = {
    "run": _run,
    "coldplug": _coldplug,
    "settle": _ask("settle"),
    "wait": _ask("wait"),
    "status": _ask("status"),
    "freeze": _ask("freeze"),
    "may-load": _ask("may-load"),
    "settled-script": _ask("settled-script"),
    "load": _ask("load"),
    "poweroff": _ask("poweroff"),
    "tree": _tree,
    "why": _why,
    "why-not": _why_not,
    "ledger": _ledger,
    "audit": _audit,
    "check-config": _check_config,
    "match": _match,
}


def main(argv: list[str] | None = None) -> int:
    """Run a verb; its exit status. 100: wrong usage, 111: the world lacks something."""
    arguments = sys.argv[1:] if argv is None else argv
    verb = arguments[0] if arguments else "--help"
    if verb in {"-h", "--help", "help"}:
        sys.stdout.write(USAGE)
        return 0 if arguments else UsageError.exit_status
    if verb in {"-V", "--version"}:
        sys.stdout.write(f"modaliasd {__version__}\n")
        return 0
    try:
        if verb not in VERBS:
            raise UsageError(f"no verb `{verb}`; `modaliasd --help` lists them")
        return VERBS[verb](arguments[1:])
    except ModaliasdError as e:
        sys.stderr.write(f"modaliasd: {e}\n")
        return e.exit_status
    except BrokenPipeError:
        return 0
