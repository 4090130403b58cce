"""What an image has to have for commands and shared folders: asked of its manifest, or of the archive itself."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hostbuild.errors import InputError
from hostbuild.formats.initramfs.archive import open_image
from hostbuild.guest.share import Share, Transport, missing_modules
from hostbuild.near import listed

_AGENT = "usr/bin/microagent"


def has_agent(image: Path, manifest: Mapping[str, Any]) -> bool:
    """Return whether the image has the agent that runs commands. manifest: {} for an image without one."""
    if manifest:
        return any(file.get("path") == _AGENT for file in manifest.get("files", ()))
    return open_image(image).root.find(_AGENT) is not None


def require_agent(image: Path, manifest: Mapping[str, Any]) -> None:
    """Refuse an image in which no command can be run. Raises InputError."""
    if has_agent(image, manifest):
        return
    whose = "was made by an older hostbuild" if manifest else "was not made by hostbuild"
    raise InputError(
        f"the image {image} has no agent to run commands in the guest ({_AGENT}): it {whose}",
        hint=f"hostbuild make-image -o {shlex.quote(str(image))}; without one: hostbuild run IMAGE, and its console",
    )


def lacks_for_share(image: Path, manifest: Mapping[str, Any], transport: Transport) -> list[str]:
    """Return the modules that an image with a manifest lacks to mount a folder of the host's."""
    have = {str(module["name"]) for module in manifest["modules"]}
    if not missing_modules(transport, have):
        return []
    table = f"usr/lib/modules/{manifest['kernel']['version']}/modules.builtin"
    builtin = open_image(image).read([table]).get(table, b"").decode("utf-8", "replace")
    return missing_modules(
        transport, have | {Path(line).stem.replace("-", "_") for line in builtin.splitlines()}
    )


def require_share_modules(
    image: Path, manifest: Mapping[str, Any], shares: Sequence[Share], made_of: str = ""
) -> None:
    """Refuse an image whose kernel cannot mount folders of the host's. Raises InputError.

    made_of: the kernel that the image was made of just now, "" for an image that somebody named.
    """
    if not manifest:
        return  # the guest will say
    for transport in dict.fromkeys(share.transport for share in shares):
        if missing := lacks_for_share(image, manifest, transport):
            raise _no_modules(image, manifest, shares, made_of, transport, missing)


def _no_modules(
    image: Path,
    manifest: Mapping[str, Any],
    shares: Sequence[Share],
    made_of: str,
    transport: Transport,
    missing: Sequence[str],
) -> InputError:
    selection = ",".join(filter(None, (str(manifest.get("selection", "")), *missing)))
    if made_of:
        return InputError(
            f"cannot share {listed([str(share.directory) for share in shares])}: the guest of {made_of} has no "
            f"{listed(missing)}",
            hint=f"--modules {shlex.quote(selection)}, or configure the kernel with {transport.options}",
        )
    return InputError(
        f"the image {image} cannot mount a shared folder: it has no {listed(missing)}",
        hint=f"hostbuild make-image -o {shlex.quote(str(image))} --modules {shlex.quote(selection)}",
    )
