"""What this machine knows of a module that the ledger does not: /lib/modules, and devices that wait.

For the command why-not, not on the boot path. Sources: modules.dep(5),
modules.order as Kbuild writes it; the kernel's
Documentation/ABI/testing/sysfs-devices-waiting_for_supplier and -consumer.
"""

from __future__ import annotations

import posix

from modaliasd.core.kmod.modules_dep import Dependencies, parse_builtin
from modaliasd.core.kmod.names import module_name, text_of
from modaliasd.core.kmod.tables import parse_modules_alias, parse_requested
from modaliasd.core.ledger.answers.explain_not import ModuleFacts, alias_matches
from modaliasd.core.loading.signature import HASH_NAME, STRIPPED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from modaliasd.core.kmod.tables import MayAsk


def read_facts(
    module: str, modules_dir: str, sys_root: str, devpaths: Iterable[str], live: Iterable[str] | None = None
) -> ModuleFacts:
    """Return the facts about `module`, from a kernel's module directory and from below `sys_root`.

    devpaths: devices that may wait for a supplier. live: the modules in the kernel; None for another machine's.
    """
    name = module.replace("-", "_")
    dep, order = _read(f"{modules_dir}/modules.dep"), _read(f"{modules_dir}/modules.order")
    builtin = _read(f"{modules_dir}/modules.builtin") or ""
    aliases = _alias_lines(_read(f"{modules_dir}/modules.alias") or "")
    is_listed = dep is not None and Dependencies(dep).find(name) is not None
    names = (
        None
        if order is None
        else {module_name(line) for line in (order + "\n" + builtin).split("\n") if line}
    )
    return ModuleFacts(
        tree=modules_dir,
        in_tree=None if dep is None else is_listed,
        in_kernel=is_listed or (None if names is None else name in names),
        builtin=name in parse_builtin(builtin)[0],
        aliases=tuple(alias for alias, target in aliases if target == name),
        stands_for=_targets(aliases, module),
        similar=_similar(name, names or set()),
        may_ask=read_may_ask(name, modules_dir),
        live=None if live is None else name in live,
        waiting={
            path: suppliers for path in devpaths if (suppliers := _waits_for(sys_root + path)) is not None
        },
    )


def read_may_ask(module: str, modules_dir: str) -> tuple[MayAsk, ...]:
    """Return who may have the kernel ask for a module, as the image says; empty where it does not say."""
    name = module.replace("-", "_")
    found, _ = parse_requested(_read(f"{modules_dir}/modules.requested") or "")
    return tuple(one for one in found if one.module == name)


def read_taint(module: str, modules_dir: str, sys_root: str) -> str:
    """Say what a loaded module taints the kernel by for want of a signature; "" if by nothing, or if it is not there.

    Source: the kernel's Documentation/ABI/testing/sysfs-module, `taint`; admin-guide/tainted-kernels.rst, E.
    """
    taint = _read(f"{sys_root}/module/{module.replace('-', '_')}/taint") or ""
    if "E" not in taint:
        return ""
    stripped = (_read(f"{modules_dir}/{HASH_NAME}") or "").strip() == STRIPPED
    return f"without signature{' (stripped by make-image)' if stripped else ''}: it taints the kernel (E)"


def _alias_lines(text: str) -> list[tuple[str, str]]:
    """(pattern, module) of each line of modules.alias; patterns may hold spaces."""
    aliases, _ = parse_modules_alias(text.encode("utf-8", "surrogateescape"))
    return [(text_of(alias.pattern), alias.module) for alias in aliases]


def _targets(aliases: list[tuple[str, str]], word: str) -> tuple[str, ...]:
    """Return the modules whose patterns match the word; those of one letter or none, `*` for all, do not count."""
    start = word[:2].replace("-", "_")
    near = [(a, module) for a, module in aliases if a[:2].replace("-", "_") == start]
    return tuple(dict.fromkeys(module for alias, module in near if alias_matches(alias, word)))


def _similar(name: str, names: set[str]) -> tuple[str, ...]:
    """Up to six names that hold the name, or are held by it, the nearest in length first."""
    if len(name) < 3:
        return ()
    found = [one for one in names if name in one or (len(one) > 2 and one in name)]
    return tuple(sorted(found, key=lambda one: (abs(len(one) - len(name)), one))[:6])


def _waits_for(path: str) -> tuple[str, ...] | None:
    """Return the suppliers of a device that waits for one; None for a device that waits for none."""
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
