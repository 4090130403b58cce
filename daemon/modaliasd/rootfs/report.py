"""Tells people and the ledger why the root file system is not there. Imported where it is not."""

from __future__ import annotations

import posix

from modaliasd.core.errors import FormatError
from modaliasd.core.kmod.glob import matches
from modaliasd.core.kmod.modules_dep import parse_modules_dep
from modaliasd.core.kmod.names import text_of
from modaliasd.core.kmod.tables import parse_modules_alias
from modaliasd.core.ledger import read
from modaliasd.core.ledger.history import history_of
from modaliasd.core.printable import printable
from modaliasd.core.root.diagnosis import Facts, diagnose
from modaliasd.linux.paths import LEDGER, MODULES
from modaliasd.linux.root.consoles import show
from modaliasd.linux.root.shares import tags

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from modaliasd.core.ledger.history import History
    from modaliasd.core.root.diagnosis import Diagnosis
    from modaliasd.core.root.members import Fate
    from modaliasd.core.root.target import BlockDevice
    from modaliasd.core.root.words import RootWords
    from modaliasd.linux.root.blockdev import BlockDevices
    from modaliasd.rootfs.daemon import Daemon
    from modaliasd.rootfs.find import Waited
    from modaliasd.rootfs.mount import Refusal

_SHOWN = 40  # lines on the console; all are in the ledger


def report(
    words: RootWords,
    waited: Waited | None,
    device: BlockDevice | None,
    *,
    devices: BlockDevices,
    refusal: Refusal | None,
    fates: tuple[Fate, ...],
    daemon: Daemon,
    init: str,
    why: str,
    outcome: str,
) -> int:
    """Say what has become of the root file system; the boot's exit status."""
    modules_dir = f"{MODULES}/{posix.uname().release}"
    facts = Facts(
        words=words,
        devices=_devices(devices),
        found=device,
        stage=refusal.stage.value if refusal is not None else "",
        types=refusal.types if refusal is not None else (),
        modules=refusal.modules if refusal is not None else (),
        said=refusal.words if refusal is not None else "",
        init=init,
        why=why,
        stuck=waited.stuck if waited is not None else (),
        absent=absent_lookup(_read(f"{modules_dir}/modules.absent")),
        carried=frozenset(parse_modules_dep(text_of(_read(f"{modules_dir}/modules.dep")))[0]),
        of_kernel=_module_names(_read(f"{modules_dir}/modules.order")),
        tags=tuple(tags()),
        fates=fates,
    )
    found = diagnose(_history(), facts)
    show(text_of_diagnosis(found, str(words.target or "?"), outcome))
    daemon.tell(
        outcome,
        found.details,
        root=str(words.target or ""),
        device=device.node if device is not None else "",
        reason=found.reason.value,
        message=found.sentence,
        fix=found.fix,
    )
    return found.status


def text_of_diagnosis(found: Diagnosis, root: str, outcome: str) -> list[str]:
    """Return it for people, line by line."""
    head = "is not there" if outcome == "lost" else "is not there yet; rootwait: it is waited for"
    lines = ["", f"The root file system {head}: root={root}", f"  {found.sentence}"]
    lines += [f"  {line}" for line in found.details[:_SHOWN]]
    if len(found.details) > _SHOWN:
        lines.append(f"  and {len(found.details) - _SHOWN} more lines in the ledger")
    lines += [f"  fix: {found.fix}"] if found.fix else []
    if outcome == "lost":
        lines.append("  `modaliasd root --again` tries again; modaliasd tree, why and why-not say more.")
    return [printable(line) for line in [*lines, ""]]


def absent_lookup(table: bytes) -> Callable[[str], list[str]]:
    """Return what tells the modules for a modalias that the image lacks (hostbuild/image/modules/absent.py)."""
    aliases, _ = parse_modules_alias(table)

    def find(modalias: str) -> list[str]:
        found: dict[str, None] = {}
        for one in modalias.split("\n"):
            text = one.replace("-", "_")
            for alias in aliases:
                pattern = text_of(alias.pattern)
                if pattern[:3] == text[:3] and _fits(pattern, text):
                    found[alias.module] = None
        return list(found)

    return find


def _fits(pattern: str, text: str) -> bool:
    try:
        return matches(pattern, text)
    except FormatError:
        return False


def _devices(devices: BlockDevices) -> tuple[BlockDevice, ...]:
    """Look at all block devices once more, with what is on them."""
    looked = (devices.look(name) for name in devices.names())
    return tuple(one for one in looked if one is not None)


def _history() -> History:
    reader = read.LedgerReader()
    try:
        with open(LEDGER, "rb") as file:
            return history_of(read.read_records(reader, iter(lambda: file.read(read.PIECE), b"")))
    except (OSError, FormatError):
        return history_of([])


def _module_names(order: bytes) -> frozenset[str]:
    """Return the names in modules.order: kernel/fs/xfs/xfs.ko."""
    names = (line.rpartition("/")[2].partition(".ko")[0] for line in text_of(order).splitlines())
    return frozenset(name.replace("-", "_") for name in names)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""
