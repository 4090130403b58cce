"""The verbs `why` and `why-not`: which device caused a load, and why a module is not loaded."""

from __future__ import annotations

import posix
import sys

from modaliasd.core.answers import find_devices, why_device, why_module
from modaliasd.core.answertext import device_text, module_text, why_not_text
from modaliasd.core.errors import UsageError
from modaliasd.core.names import module_name
from modaliasd.core.story import tell
from modaliasd.core.whynot import GOOD, ModuleFacts, why_not
from modaliasd.kernelmodules import read_live_modules
from modaliasd.ledgerfile import read_records
from modaliasd.modulefacts import read_facts
from modaliasd.paths import LEDGER, MODULES
from modaliasd.terminal import wants_color

TYPE_CHECKING = False
if TYPE_CHECKING:
    from modaliasd.core.story import Story

HELP = """\
usage: modaliasd why MODULE|DEVICE [--ledger FILE] [--color auto|always|never]

For a module: every device that asked for it, with its modalias, the alias that matched and the alias's line;
the modules that depend on it; who asked for it by name; when it was loaded; what it drives.
For a device (a devpath, a node such as /dev/vda, an interface such as eth0): its modalias, every match and
what became of it, and the driver. Exit status 1 if the ledger knows neither.
"""
HELP_NOT = """\
usage: modaliasd why-not MODULE [--ledger FILE] [--modules-dir DIR] [--color auto|always|never]

Why a module is not loaded, or not at work: no device here asks for it; a line denies it; it is not in this
image, and which option brings it; its load failed; it was removed; it is loaded and drives nothing; its device
waits for a supplier; there is no such module. Exit status 1 if it is at work after all.

  --modules-dir DIR  look for it in DIR (default: this kernel's in /lib/modules; with --ledger none)
"""


def run_why(arguments: list[str]) -> int:
    """Answer `why`."""
    if "--help" in arguments or "-h" in arguments:
        sys.stdout.write(HELP)
        return 0
    name, options = _parse("why", arguments, ("--ledger", "--color"))
    color = wants_color(options.get("--color", "auto"))
    story = tell(read_records(options.get("--ledger", LEDGER)))
    devices = find_devices(story, name) if "/" in name else []
    why = None if devices or "/" in name else why_module(story, name)
    if why is not None:
        sys.stdout.write(module_text(story, why, color=color))
        return 0
    devices = devices or find_devices(story, name)
    for device in devices:
        sys.stdout.write(device_text(story, why_device(story, device), color=color))
    if not devices:
        sys.stderr.write(
            f"modaliasd why: the ledger knows no module and no device `{name}`{_like(story, name)}\n"
        )
        return 1
    return 0


def run_why_not(arguments: list[str]) -> int:
    """Answer `why-not`."""
    if "--help" in arguments or "-h" in arguments:
        sys.stdout.write(HELP_NOT)
        return 0
    word, options = _parse("why-not", arguments, ("--ledger", "--color", "--modules-dir"))
    story = tell(read_records(options.get("--ledger", LEDGER)))
    here = "--ledger" not in options
    if "/" in word and find_devices(story, word):
        raise UsageError(
            f"`modaliasd why-not` takes a module, and {word} is a device; try `modaliasd why {word}`"
        )
    name = module_name(word) if ".ko" in word else word
    directory = _require_tree(options["--modules-dir"]) if "--modules-dir" in options else ""
    if here and not directory:
        directory = f"{MODULES}/{posix.uname().release}"
    facts = ModuleFacts()
    if directory:
        asking = [device.devpath for device, _match in story.askers(name)] if here else []
        facts = read_facts(name, directory, "/sys", asking, _live_modules() if here else None)
    answer = why_not(story, name, facts)
    sys.stdout.write(why_not_text(answer, color=wants_color(options.get("--color", "auto"))))
    return int(answer.reason in GOOD)


def _require_tree(directory: str) -> str:
    """The directory, if it is a module tree: one of depmod's or of Kbuild's lists is in it."""
    for name in ("modules.dep", "modules.order"):
        try:
            posix.stat(f"{directory}/{name}")
        except OSError:
            continue
        return directory
    raise UsageError(
        f"--modules-dir {directory}: no modules.dep is there; it wants a kernel's directory, as /lib/modules/6.1.0 is"
    )


def _live_modules() -> list[str] | None:
    """The modules in the kernel; None where /proc/modules shows none, and nothing can be told."""
    return read_live_modules() or None


def _parse(verb: str, arguments: list[str], known: tuple[str, ...]) -> tuple[str, dict[str, str]]:
    """The one plain word, and the options with their values."""
    names: list[str] = []
    options: dict[str, str] = {}
    words = iter(arguments)
    for word in words:
        if word in known:
            options[word] = next(words, "")
        elif word.startswith("-"):
            raise UsageError(f"`modaliasd {verb}` does not know `{word}`; see `modaliasd {verb} --help`")
        else:
            names.append(word)
    if len(names) != 1:
        raise UsageError(f"`modaliasd {verb}` takes one name; got `{' '.join(names)}`")
    return names[0], options


def _like(story: Story, name: str) -> str:
    """Names that contain it, as a hint."""
    modules = [load.module for load in story.loads]
    nodes = [device.ifname or device.devname for device in story.devices.values()]
    found = sorted({one for one in modules + nodes if one and name.rpartition("/")[2] in one})
    return f"; did you mean {', '.join(found[:6])}?" if found else ""
