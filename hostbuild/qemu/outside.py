"""What of a machine lies outside QEMU: TPMs of swtpm's, folders of virtiofsd's, and the memory that these share."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from hostbuild.beside.process import Beside
from hostbuild.beside.swtpm import swtpms
from hostbuild.beside.virtiofsd import Folder, serving
from hostbuild.guest.share import Share, Transport, socket_of
from hostbuild.qemu.machine import TPMS, Machine

_MEMORY = "guest-memory"
# What can be put on a memfd (memfd_create(2)) instead, which is what vhost-user hands on.
_MOVABLE = re.compile(r"(?:qom-type=)?memory-backend-(?:ram|memfd),")


@contextmanager
def beside_qemu(
    machine: Machine, shares: Sequence[Share], directory: Path
) -> Iterator[tuple[Machine, list[Beside]]]:
    """Start the programs that a machine and its shared folders need; they end with the context.

    Gives the machine with what leads to them, and those that serve folders. directory: for their sockets.
    Raises ToolMissingError for one that is not installed, WorldError for one that does not start.
    """
    machine, tpms = with_tpms(machine, directory)
    folders = [
        Folder(share.directory, socket_of(number, directory), share.read_only)
        for number, share in enumerate(shares)
        if share.transport is Transport.VIRTIOFS
    ]
    with swtpms(tpms), serving(None, folders) as served:
        yield machine, served


def with_tpms(machine: Machine, directory: Path) -> tuple[Machine, tuple[Path, ...]]:
    """Return the machine with a backend for each TPM that names none, and the sockets that swtpm has to listen on.

    directory: where the sockets are.
    """
    devices = []
    raw = list(machine.raw)
    sockets: list[Path] = []
    for device in machine.devices:
        if device.driver in TPMS and device.get("tpmdev") is None:
            name = f"swtpm{len(sockets)}"
            sockets.append(directory / f"{name}.sock")
            path = str(sockets[-1]).replace(",", ",,")
            raw.append(("-chardev", f"socket,id={name}-line,path={path}"))
            raw.append(("-tpmdev", f"emulator,id={name},chardev={name}-line"))
            device = device.having(tpmdev=name)
        devices.append(device)
    return replace(machine, devices=tuple(devices), raw=tuple(raw)), tuple(sockets)


def why_not_shared(machine: Machine) -> str:
    """Say why a machine's memory cannot be shared with another program, "" where it can."""
    own = next((one for one in machine.options if one.startswith("memory-backend=")), "")
    if own:
        return f"the machine {machine.name} has a {own} of its own"
    for option, value in machine.raw:
        memory = option == "-object" and "memory-backend-" in value
        if memory and not _MOVABLE.match(value) and "share=on" not in value.split(","):
            return f"the machine {machine.name} has memory that is not shared: {value}"
    return ""


def with_shared_memory(machine: Machine, size: int) -> Machine:
    """Return the machine with all of its memory on memfds that are shared, as vhost-user needs it. size: MiB.

    That of NUMA nodes, and of what the machine file makes for devices, is made anew as such.
    """
    raw = [(option, _on_memfd(value) if option == "-object" else value) for option, value in machine.raw]
    if any(option == "-numa" and "memdev=" in value for option, value in raw):
        return replace(machine, raw=tuple(raw))
    raw.append(("-object", f"memory-backend-memfd,id={_MEMORY},size={size}M,share=on"))
    return replace(machine, raw=tuple(raw), options=(*machine.options, f"memory-backend={_MEMORY}"))


def _on_memfd(backend: str) -> str:
    found = _MOVABLE.match(backend)
    if found is None:
        return backend
    rest = [part for part in backend[found.end() :].split(",") if not part.startswith("share=")]
    return ",".join(["memory-backend-memfd", *rest, "share=on"])
