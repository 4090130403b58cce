"""What this machine knows of a module that the ledger does not: /lib/modules, and devices that wait.

For the verb why-not, not on the boot path. Sources: modules.dep(5); the kernel's
Documentation/ABI/testing/sysfs-devices-waiting_for_supplier and -consumer.
"""

from __future__ import annotations

import posix

from modaliasd.core.alias import parse_modules_alias
from modaliasd.core.answers import ModuleFacts
from modaliasd.core.moddep import Dependencies, parse_builtin
from modaliasd.core.names import text_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def read_facts(module: str, modules_dir: str, sys_root: str, devpaths: Iterable[str]) -> ModuleFacts:
    """The facts about `module`, from the kernel's module directory and from below `sys_root`."""
    name = module.replace("-", "_")
    dep = _read(f"{modules_dir}/modules.dep")
    return ModuleFacts(
        None if dep is None else Dependencies(dep).find(name) is not None,
        name in parse_builtin(_read(f"{modules_dir}/modules.builtin") or "")[0],
        _aliases(_read(f"{modules_dir}/modules.alias") or "", name),
        {path: suppliers for path in devpaths if (suppliers := _waits_for(sys_root + path)) is not None},
    )


def _aliases(text: str, name: str) -> tuple[str, ...]:
    aliases, _ = parse_modules_alias(text.encode("utf-8", "surrogateescape"))
    return tuple(text_of(alias.pattern) for alias in aliases if alias.module == name)


def _waits_for(path: str) -> tuple[str, ...] | None:
    """The suppliers of a device that waits for one; None for a device that waits for none."""
    if (_read(f"{path}/waiting_for_supplier") or "0").strip() != "1":
        return None
    try:
        entries = posix.listdir(path)
    except OSError:
        return ()
    return tuple(
        sorted(entry.removeprefix("supplier:") for entry in entries if entry.startswith("supplier:"))
    )


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return None
