"""Boots of images that the tests have built, prepared as hostbuild's commands prepare theirs; always emulated."""

from pathlib import Path

from hostbuild.image.build import BuiltImage
from hostbuild.qemu.machine import Machine
from hostbuild.qemu.session import prepare
from hostbuild.qemu.vm import VM


def vm_of(
    built: BuiltImage,
    machine: Machine,
    *,
    append: str = "",
    memory: str = "512",
    agent: bool = True,
    poweroff: bool = False,
    pvh: bool = False,
    dtb: Path | None = None,
    limit_s: float = 120,
) -> VM:
    """Return the machine with this image and its kernel, to be started by `with`."""
    session = prepare(
        built.image,
        machine,
        append=append,
        memory=memory,
        accel="tcg",
        agent=agent,
        poweroff=poweroff,
        pvh=pvh,
        dtb=dtb,
        limit_s=limit_s,
    )
    return session.vm()
