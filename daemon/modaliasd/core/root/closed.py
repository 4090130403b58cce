"""Why a member of an array or a volume group, or an encrypted disk, is not open: in words, with a fix. Pure."""

from __future__ import annotations

from modaliasd.core.fasttypes import NamedTuple
from modaliasd.core.ledger.answers.fixes import fix_of
from modaliasd.core.root.luks import KEYS
from modaliasd.core.root.members import LUKS, MEMBERS, Outcome

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from modaliasd.core.ledger.history import History
    from modaliasd.core.root.members import Fate
    from modaliasd.core.root.target import BlockDevice


class Closed(NamedTuple):
    """sentence: without a stop. locked: it wants a key, and has had none that fits."""

    sentence: str
    fix: str
    details: tuple[str, ...] = ()
    locked: bool = False


def why_closed(
    device: BlockDevice, fates: Collection[Fate], history: History, carried: Collection[str]
) -> Closed:
    """Return why nothing was made of it. carried: names of the modules of the image."""
    assert device.holds is not None
    kind = MEMBERS[device.holds.type]
    uuid = device.holds.uuid
    what = f"{device.node} is {kind.words}"
    image = f"hostbuild make-image --with root --with {kind.extra}"
    fate = next((one for one in fates if one.node == device.node), None)
    if fate is None:  # it is open, or nobody had a reason to open it
        fix = (
            f"root=/dev/mapper/luks-{uuid}" if device.holds.type == LUKS else "root= of the file system on it"
        )
        return Closed(f"{what}, and root= has to name what lies on it", fix)
    if fate.outcome is Outcome.NO_TOOL:
        return Closed(f"{what}, and nothing here opens it: the image needs {kind.program}", image)
    if fate.outcome is Outcome.NO_MODULE:
        load = history.load_of(kind.module)
        if load is None or kind.module not in carried:
            return Closed(f"{what}, and the module {kind.module} is not in this image", image)
        sentence = f"{what}, and the module {kind.module} is {load.outcome}: {load.message}"
        return Closed(sentence, fix_of(history, kind.module, load))
    if fate.outcome is Outcome.NOT_WANTED:
        return Closed(f"{what}, and rd.luks words name others", f"rd.luks.uuid={uuid}")
    if fate.outcome is Outcome.NO_KEY:
        why = f": {fate.said}" if fate.said else ""
        fix = f"a key in the image: --overlay DIR with {KEYS[1:]}/luks-{uuid}.key, or rd.luks.key=PATH"
        return Closed(f"{what}, and no passphrase was given{why}", fix, locked=True)
    if fate.outcome is Outcome.WRONG_KEY:
        sentence = f"{what}, and {fate.said} does not open it"
        return Closed(sentence, f"cryptsetup open --test-passphrase {device.node}", locked=True)
    said = _lines(fate.said)
    if device.holds.type == LUKS:
        return Closed(f"{what}, and {kind.program} could not open it", "look at what it says", said)
    look = {"mdadm": f"mdadm --examine {device.node}; cat /proc/mdstat", "lvm": "lvm pvs; lvm vgs; lvm lvs"}
    return Closed(f"{what}, and {kind.program} made nothing of it", look[kind.program], said)


def _lines(said: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in said.splitlines() if line.strip())
