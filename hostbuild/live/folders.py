"""How shared folders get into a guest: by 9p, which QEMU serves itself, or by virtiofs, which virtiofsd does.

9p is taken unless virtiofs is asked for: its guest sees at once what changes here, anybody may share with it, and pass
over what only root may do. virtiofs keeps names and attributes for a second, and is faster for that
(docs/commands.md has figures).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hostbuild.beside.virtiofsd import Virtiofsd, find_virtiofsd, why_not
from hostbuild.errors import UsageError
from hostbuild.guest.requirements import lacks_for_share
from hostbuild.guest.share import Share, Transport
from hostbuild.log import debug
from hostbuild.near import listed
from hostbuild.qemu.outside import why_not_shared
from hostbuild.qemu.session import Session

_INSTALL = "sudo apt-get install virtiofsd (Debian 12: qemu-system-common); or --share-by 9p"


def carried(session: Session, shares: Sequence[Share], transport: Transport) -> tuple[Share, ...]:
    """Give the folders as a guest gets them. Raises UsageError where virtiofs cannot be had, and says why."""
    if transport is Transport.VIRTIOFS and shares:
        virtiofsd = find_virtiofsd()
        for share in shares:
            if no := _why_not(session, share, virtiofsd):
                raise UsageError(
                    f"cannot share {share.directory} by virtiofs: {no}",
                    hint=_INSTALL if virtiofsd is None else "--share-by 9p",
                )
    for share in shares:
        debug("share", f"{share.directory} at {share.place}, by {transport.value}")
    return tuple(replace(share, transport=transport) for share in shares)


def _why_not(session: Session, share: Share, virtiofsd: Virtiofsd | None) -> str:
    """Say why a folder cannot be shared by virtiofs, "" where it can."""
    if virtiofsd is None:
        return "virtiofsd is not installed, or does not run here"
    if session.boot.icount:
        return "virtiofsd does not keep to the time of --icount"
    if share.read_only and not virtiofsd.read_only:
        return f"{virtiofsd.program} has no --readonly, and would let the guest write"
    if missing := _lacking(session.boot.initrd, session.manifest):
        return missing
    return why_not_shared(session.machine) or why_not(virtiofsd, share.directory)


def _lacking(image: Path, manifest: Mapping[str, Any]) -> str:
    if not manifest:
        return ""  # the guest will say
    lacks = lacks_for_share(image, manifest, Transport.VIRTIOFS)
    return f"the image has no {listed(lacks)} ({Transport.VIRTIOFS.options})" if lacks else ""
