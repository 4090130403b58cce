"""The commands `why` and `why-not`: which device caused a load, and why a module is not loaded."""

from __future__ import annotations

import posix
import sys

from modaliasd.commands.ledgerfile import read_here, read_history
from modaliasd.commands.modulefacts import read_facts, read_may_ask, read_taint
from modaliasd.commands.options import COLOR_OPTION, JSON_OPTION, LEDGER_OPTION, Option, Syntax, parse
from modaliasd.commands.terminal import wants_color
from modaliasd.core.errors import UsageError
from modaliasd.core.kmod.names import module_name
from modaliasd.core.ledger.answers.explain import find_devices, why_device, why_module
from modaliasd.core.ledger.answers.explain_not import GOOD, ModuleFacts, Reason, WhyNot, why_not
from modaliasd.core.ledger.answers.jsonable import plain, why_not_fields
from modaliasd.core.ledger.answers.text_explain import device_text, module_text, why_not_text
from modaliasd.core.ledger.text_line import trimmed_text
from modaliasd.core.printable import printable
from modaliasd.linux.fullsystem.moduletree import NoModulesError, check_tree, find_tree
from modaliasd.linux.procmodules import read_live_modules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from modaliasd.core.kmod.tables import MayAsk
    from modaliasd.core.ledger.history import History

WHY = Syntax(
    "why",
    """\
For a module: every device that asked for it, with its modalias, the alias that matched and the alias's line;
the modules that depend on it; who asked for it by name, or has the kernel ask; when it was loaded; what it drives.
For a device (a devpath, a node such as /dev/vda, an interface such as eth0): its modalias, every match and
what became of it, and the driver.
""",
    (
        ("why e1000", "which devices caused this module to be loaded"),
        ("why /dev/vda", "what this disk matched, and what drives it"),
    ),
    (LEDGER_OPTION, COLOR_OPTION, JSON_OPTION),
    "MODULE|DEVICE",
    1,
    1,
    "1 if the ledger has neither a module nor a device of this name",
)
WHY_NOT = Syntax(
    "why-not",
    """\
Says why a module is not loaded, or does nothing: no device here asks for it; a line denies it; it is not in this
image, and which option adds it; its load failed; it was removed; it is loaded and drives nothing; its device
waits for a supplier; there is no such module.
""",
    (
        ("why-not nvme", "why this module is not at work"),
        ("why-not nvme --ledger boot.jsonl", "the same from a saved ledger"),
    ),
    (
        LEDGER_OPTION,
        Option(
            "--modules-dir",
            "where to look for the module; default: this kernel's in\n/lib/modules, none with --ledger",
            "DIR",
        ),
        COLOR_OPTION,
        JSON_OPTION,
    ),
    "MODULE",
    1,
    1,
    "1 if the module is at work after all",
)


def run_why(arguments: list[str]) -> int:
    """Answer `why`."""
    given = parse(WHY, arguments)
    (name,) = given.operands
    color = wants_color(given.value("--color", "auto"))
    history = read_history(given.value("--ledger", "")) if given.given("--ledger") else read_here("why")
    _tell_of_trim(history, "why")
    devices = find_devices(history, name) if "/" in name else []
    why = None if devices or "/" in name else why_module(history, name)
    devices = devices if why is not None else devices or find_devices(history, name)
    if given.given("--json"):
        answers = [why_device(history, device) for device in devices]
        _print_json({"module": plain(why), "devices": plain(answers)})
        if why is not None or devices:
            return 0
    if why is not None:
        own: tuple[MayAsk, ...] = ()
        taint = ""
        if not given.given("--ledger"):
            tree = find_tree(posix.uname().release)
            own, taint = read_may_ask(why.module, tree), read_taint(why.module, tree, "/sys")
        sys.stdout.write(module_text(history, why, may_ask=own, taint=taint, color=color))
        return 0
    for device in devices:
        sys.stdout.write(device_text(history, why_device(history, device), color=color))
    if not devices:
        where = "there is here, and asked for," if history.timeless else "the ledger has"
        nothing = f"modaliasd why: {where} neither a module nor a device `{name}`{_like(history, name)}"
        sys.stderr.write(f"{printable(nothing)}\n")
        return 1
    return 0


def run_why_not(arguments: list[str]) -> int:
    """Answer `why-not`."""
    given = parse(WHY_NOT, arguments)
    (word,) = given.operands
    color = wants_color(given.value("--color", "auto"))
    here = not given.given("--ledger")
    tree = given.value("--modules-dir", "")
    if tree:
        tree = check_tree(tree)
    try:
        history = read_here("why-not", tree) if here else read_history(given.value("--ledger", ""))
    except NoModulesError as e:
        if given.given("--json"):
            _print_json(why_not_fields(WhyNot(word, Reason.ABSENT, (str(e),))))
        else:
            sys.stdout.write(f"{printable(word)}: {e}\n")
        return 0
    _tell_of_trim(history, "why-not")
    if "/" in word and find_devices(history, word):
        raise UsageError(
            f"`modaliasd why-not` takes a module, and {word} is a device; try `modaliasd why {word}`"
        )
    name = module_name(word) if ".ko" in word else word
    directory = tree
    if here and not tree:
        directory = find_tree(posix.uname().release)
    facts = ModuleFacts()
    if directory:
        asking = [device.devpath for device, _match in history.askers(name)] if here else []
        facts = read_facts(name, directory, "/sys", asking, _live_modules() if here else None)
    answer = why_not(history, name, facts)
    if given.given("--json"):
        _print_json(why_not_fields(answer))
    else:
        sys.stdout.write(why_not_text(answer, color=color))
    return int(answer.reason in GOOD)


def _print_json(fields: dict[str, Any]) -> None:
    from json import dumps

    sys.stdout.write(dumps(fields) + "\n")


def _tell_of_trim(history: History, command: str) -> None:
    """Say what the ledger has no room for any more may be what was asked for."""
    if history.trimmed:
        sys.stderr.write(f"modaliasd {command}: {trimmed_text(history.trimmed)}\n")


def _live_modules() -> list[str] | None:
    """Return the modules in the kernel; None where /proc/modules shows none, and nothing can be told."""
    return read_live_modules() or None


def _like(history: History, name: str) -> str:
    """Names that contain it, as a hint."""
    modules = [load.module for load in history.loads]
    nodes = [device.ifname or device.devname for device in history.devices.values()]
    found = sorted({one for one in modules + nodes if one and name.rpartition("/")[2] in one})
    return f"; did you mean {', '.join(found[:6])}?" if found else ""
