"""What a device names that has to be made for it: its backend, and other objects of QEMU's.

Some backends hostbuild makes up (hostbuild.qemu.device); the others only their user can describe, in a machine file.
A device that names something which nobody makes is refused before QEMU starts, with the machine file that would
make it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from hostbuild.errors import UsageError
from hostbuild.qemu.device import Device


@dataclass(frozen=True, slots=True)
class ByHand:
    """A backend that cannot be made up, since only its user knows what it should be.

    prop: the device's property that names it. section: the key of a machine file that makes it. example: one.
    """

    prop: str
    section: str
    example: str


_FSDEV = ByHand("fsdev", "fsdevs", "local,id=ID,path=DIRECTORY,security_model=none")
_TPMDEV = ByHand("tpmdev", "tpmdevs", "emulator,id=ID,chardev=CHARDEV")
_CRYPTODEV = ByHand("cryptodev", "objects", "cryptodev-backend-builtin,id=ID")
_SOCKET = ByHand("chardev", "chardevs", "socket,id=ID,path=SOCKET")
# Devices that QEMU refuses without a backend, where none can be made up.
_BY_HAND_OF: tuple[tuple[str, ByHand], ...] = (
    (r"virtio-9p-.*", _FSDEV),
    (r"virtio-crypto-.*", _CRYPTODEV),
    (r"vhost-user-.*|usb-redir|ccid-card-passthru|ivshmem-doorbell|ipmi-bmc-extern", _SOCKET),
    (r"virtio-pmem-pci", ByHand("memdev", "objects", "memory-backend-ram,id=ID,size=64M,share=on")),
    (r"virtio-mem-pci", ByHand("memdev", "objects", "memory-backend-ram,id=ID,size=64M")),
    (
        r"scsi-(block|generic)",
        ByHand("drive", "blockdevs", "driver=host_device,node-name=ID,filename=/dev/sdX"),
    ),
)
# The properties of any device that name something else, by the key of a machine file that makes it.
REFERENCES: Mapping[str, ByHand] = {
    "fsdev": _FSDEV,
    "tpmdev": _TPMDEV,
    "cryptodev": _CRYPTODEV,
    "drive": ByHand("drive", "blockdevs", "driver=null-co,node-name=ID,size=67108864"),
    "netdev": ByHand("netdev", "netdevs", "user,id=ID,restrict=on"),
    "chardev": ByHand("chardev", "chardevs", "null,id=ID"),
    "audiodev": ByHand("audiodev", "audiodevs", "none,id=ID"),
    "memdev": ByHand("memdev", "objects", "memory-backend-ram,id=ID,size=64M"),
    "iothread": ByHand("iothread", "objects", "iothread,id=ID"),
    "rng": ByHand("rng", "objects", "rng-random,id=ID,filename=/dev/urandom"),
}


def by_hand(device: Device) -> ByHand | None:
    """Return the backend that its user has to describe; None where it needs none, or one that is made up."""
    return next((needs for pattern, needs in _BY_HAND_OF if re.fullmatch(pattern, device.driver)), None)


def check_references(device: Device, made: Mapping[str, frozenset[str]]) -> None:
    """Refuse a device that names something that nobody makes, or that lacks what cannot be made up.

    made: the ids that a machine file's keys make, by key. Raises UsageError, which says what to use instead.
    """
    needs = by_hand(device)
    if needs is not None and device.get(needs.prop) is None:
        raise UsageError(
            f"device {str(device)!r} does not work alone: it needs {needs.prop}=ID, and a backend of that id",
            hint=_in_a_file(device, needs, "ID"),
        )
    for prop, reference in REFERENCES.items():
        name = device.get(prop)
        if name is None or name in made.get(reference.section, frozenset()):
            continue
        own = device.backend is not None and device.backend.value == prop
        if own:
            hint = (
                f"leave {prop}= out, and a backend is made for it; or {_in_a_file(device, reference, name)}"
            )
        else:
            hint = _in_a_file(device, reference, name)
        raise UsageError(f"device {str(device)!r}: there is no {prop} {name!r}", hint=hint)


def _in_a_file(device: Device, needs: ByHand, name: str) -> str:
    props = tuple(pair for pair in device.props if pair[0] != needs.prop)
    whole = replace(device, props=(*props, (needs.prop, name)))
    example = re.sub(r"\bID\b", lambda _: name or "ID", needs.example)
    return f'a machine file (--machine FILE.toml) makes both: {needs.section} = ["{example}"], devices = ["{whole}"]'
