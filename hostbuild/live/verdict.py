"""What became of a module that was tried in a guest: bound to a device, or why not. Pure.

What the kernel says of a module that it refuses stands in its log (kernel/module/main.c, version.c).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from hostbuild.near import listed
from modaliasd.core.kmod.names import module_name
from modaliasd.core.ledger.answers.fixes import FIXES

_MAGIC = re.compile(r"version magic '([^']*)' should be '([^']*)'")
_UNKNOWN = re.compile(r"Unknown symbol (\S+) \(err (-?\d+)\)")
_VERSION = re.compile(r"disagrees about version of symbol (\S+)")
_REJECTED = "Key was rejected"  # EKEYREJECTED in words: a signature that is not of this content
_ENUMERATED = re.compile(
    r"pci [0-9a-f]{4}:"
)  # what the kernel says of a device that it finds, without a driver
_STAMP = re.compile(r"^\[ *\d+\.\d+\] ?")
_TROUBLE = re.compile(
    r"BUG: |Oops: |general protection fault|WARNING: CPU|Unable to handle kernel|Call Trace:"
)
_REPORT = 40  # lines of a kernel's report that are shown
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Match:
    """A device of the guest's that an alias of the module's matches. driver: what drives it in the end, "" nothing."""

    device: str
    modalias: str
    alias: str
    driver: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """What the guest tells. name: the module's. drivers: bus:driver -> the devices that it drives.

    matches: devices that its aliases match. near: devices of the same buses that nothing drives, with their modaliases.
    failure, message: the ledger's, of its load; modprobe's words where it was loaded by name. log: the kernel's.
    """

    name: str
    loaded: bool
    drivers: Mapping[str, tuple[str, ...]]
    matches: tuple[Match, ...] = ()
    near: tuple[tuple[str, str], ...] = ()
    by_name: bool = False
    failure: str = ""
    message: str = ""
    log: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer. lines: in words, the first says it all. fix: what to do, "" where nothing is wrong."""

    bound: bool
    lines: tuple[str, ...]
    fix: str = ""


def judge_found(found: Found, aliases: Sequence[str]) -> Verdict:
    """Say what became of a module. aliases: its own, of .modinfo."""
    bound = [(device, driver) for driver, devices in found.drivers.items() for device in devices]
    if bound:
        return _bound(found, bound, aliases)
    if not found.loaded:
        return _refused(found)
    if not found.drivers:
        return Verdict(
            False,
            (f"{found.name} is loaded, and has registered no driver",),
            "see its init function: pci_register_driver, module_pci_driver and the like",
        )
    drivers = listed(sorted(found.drivers))
    if not found.matches:
        return _nothing_matches(found, drivers, aliases)
    lines = [
        f"{found.name} is loaded, and its driver {drivers} drives none of the devices that its aliases match"
    ]
    for match in found.matches[:_SHOWN]:
        taken = f"is driven by {match.driver}" if match.driver else "has no driver: the probe did not take it"
        lines.append(f"  {match.device} {taken}; alias {match.alias}")
    others = sorted({match.driver for match in found.matches if match.driver})
    fix = (
        f"leave {listed(others)} out: --modules with -{others[0]}, or --append modprobe.blacklist={others[0]}"
        if others
        else "the log says with which error the probe ended"
    )
    return Verdict(False, tuple(lines), fix)


def _bound(found: Found, bound: Sequence[tuple[str, str]], aliases: Sequence[str]) -> Verdict:
    lines = []
    by_device = {match.device: match for match in found.matches}
    for device, driver in bound:
        match = by_device.get(device)
        why = f"by its alias {match.alias}" if match else "which no alias of it names"
        lines.append(f"bound: {device} is driven by {driver} of {found.name}, {why}")
    if found.by_name:
        what = "has no alias" if not aliases else "has no alias that matches"
        lines.append(
            f"  it was loaded by its name: {found.name} {what}, so nothing loads it for a device (MODULE_DEVICE_TABLE)"
        )
    return Verdict(True, tuple(lines))


def _refused(found: Found) -> Verdict:
    text = "\n".join(found.log)
    if magic := _MAGIC.search(text):
        return wrong_kernel(found.name, magic[1], magic[2])
    if unknown := list(dict.fromkeys(_UNKNOWN.findall(text))):
        names = [name for name, _ in unknown]
        return Verdict(
            False,
            (f"{found.name} cannot be loaded: the kernel has no symbol {_some(names)}",),
            "a module that exports it has to be there (--also FILE.ko, --modules), or the kernel be configured with it",
        )
    if differing := list(dict.fromkeys(_VERSION.findall(text))):
        return Verdict(
            False,
            (f"{found.name} cannot be loaded: it was built with another version of {_some(differing)}",),
            "build it again with the Module.symvers of this kernel",
        )
    message = found.message.strip() or "modprobe did not say why"
    failure = "signature" if _REJECTED in message else found.failure
    fix = next((fix for kind, fix in FIXES.items() if kind.value == failure), "")
    return Verdict(
        False,
        (f"{found.name} cannot be loaded: {message}",),
        fix or "the log may say more; see its init function",
    )


def _nothing_matches(found: Found, drivers: str, aliases: Sequence[str]) -> Verdict:
    lines = [f"{found.name} is loaded, and no device here is one for its driver {drivers}"]
    lines += [f"  its alias: {alias}" for alias in aliases[:_SHOWN]]
    if len(aliases) > _SHOWN:
        lines.append(f"  and {len(aliases) - _SHOWN} more")
    if not aliases:
        lines.append("  it has no alias: MODULE_DEVICE_TABLE makes them")
    lines += [f"  without a driver: {device} {modalias}" for device, modalias in found.near[:_SHOWN]]
    return Verdict(
        False, tuple(lines), "add its device: --device NAME; hostbuild run --list-devices names them"
    )


def wrong_kernel(name: str, magic: str, kernels: str) -> Verdict:
    """Say that a module was built for another kernel."""
    said = (
        f"its version magic is {magic!r}, the kernel's is {kernels!r}" if magic else "it has no version magic"
    )
    return Verdict(
        False,
        (f"{name} cannot be loaded: it was built for another kernel; {said}",),
        "build it for this kernel, make -C TREE M=DIR, or name its own by --kernel",
    )


def no_dependency(name: str, missing: Sequence[str], kernel: str) -> Verdict:
    """Say that a module needs others that are nowhere."""
    return Verdict(
        False,
        (f"{name} cannot be loaded: it needs {_some(missing)}, which kernel {kernel} lacks",),
        f"--also {missing[0]}.ko, where it is a module of yours",
    )


def matches_of(
    records: Iterable[Mapping[str, Any]], name: str
) -> tuple[dict[str, tuple[str, str]], dict[str, str]]:
    """Read a ledger: devpath -> (modalias, alias) where the module matches; devpath -> modalias of all others."""
    matched: dict[str, tuple[str, str]] = {}
    others: dict[str, str] = {}
    for record in records:
        if record.get("type") != "device" or not record.get("modalias"):
            continue
        path, modalias = str(record["devpath"]), str(record["modalias"])
        alias = next(
            (str(one["alias"]) for one in record.get("matches", ()) if module_name(one["module"]) == name),
            None,
        )
        if alias is None:
            others[path] = modalias
        else:
            matched[path] = (modalias, alias)
    return matched, others


def near_devices(
    others: Mapping[str, str], driven: Iterable[str], aliases: Iterable[str]
) -> list[tuple[str, str]]:
    """Give the devices on the buses of these aliases that nothing drives: name, modalias."""
    buses = {alias.partition(":")[0] for alias in aliases}
    without = others.keys() - set(driven)
    return [
        (PurePosixPath(path).name, modalias)
        for path, modalias in sorted(others.items())
        if path in without and modalias.partition(":")[0] in buses
    ]


def log_about(log: Sequence[str], words: Iterable[str]) -> list[str]:
    """Give the lines of a kernel's log that speak of any of these words, and its reports of trouble."""
    names = {form for word in words if word for form in (word, word.replace("_", "-"))}
    speaks = re.compile("|".join(rf"(?<![\w-]){re.escape(name)}(?![\w-])" for name in sorted(names)) or r"$^")
    shown: list[str] = []
    left = 0
    for line in log:
        text = _STAMP.sub("", line)
        if _TROUBLE.search(text):
            left = max(left, _REPORT)
        told = text.startswith("modaliasd") or _ENUMERATED.match(text)
        if left > 0 or (speaks.search(text) and not told):
            shown.append(line)
        left = max(left - 1, 0)
    return shown


def _some(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return listed([*names[:_SHOWN], *([f"{more} more"] if more > 0 else [])])
