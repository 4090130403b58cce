"""Measures for hostbuild.qemu.memory: reads the sizes that an estimate needs, and finds the true limit by booting.

A boot counts as one if the daemon says that it has settled. The limit is found by halving an interval around
the estimate, whose ends are tried first.
"""

import stat
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hostbuild.errors import GuestError, GuestTimeoutError
from hostbuild.formats.initramfs.archive import open_image
from hostbuild.formats.vmlinuz import init_size
from hostbuild.qemu.boot import Boot
from hostbuild.qemu.machine import Machine
from hostbuild.qemu.memory import ImageSize, MemoryEstimate, estimate, in_pages
from hostbuild.qemu.vm import VM

_HEADER = 1024  # bytes of a vmlinuz in which init_size stands
_PATIENCE = 4  # a guest that takes so many times longer than it did with room enough is lost
_LEAST_PATIENCE_S = 45.0
_FIRST_PATIENCE_S = 600.0  # nobody knows yet how long this guest takes here
_WIDTH = 0.12  # of the estimate: half of the interval in which the limit is looked for


@dataclass(frozen=True, slots=True)
class Attempt:
    """A boot with `memory` MiB: whether it settled, after how many seconds of wall time, else why not."""

    memory: int
    booted: bool
    seconds: float
    why: str = ""


@dataclass(frozen=True, slots=True)
class MeasuredMinimum:
    """least: the least memory in MiB that boots, to `step` MiB."""

    least: int
    step: int


def read_size(image: Path, manifest: Mapping[str, Any], append: str = "") -> ImageSize:
    """Read what counts of an image: from its manifest, or as a kernel unpacks it where that is {}."""
    packed = image.stat().st_size
    if manifest.get("image", {}).get("size") == packed:
        files = [row["size"] for row in manifest["files"] if stat.S_ISREG(int(row["mode"], 8))]
        count = len(manifest["files"])
    else:
        # a file with several names is there once, and what a later archive writes over takes no room
        nodes = {id(node): node for _, node in open_image(image).require_whole().root.walk()}
        files = [node.size for node in nodes.values() if stat.S_ISREG(node.mode)]
        count = len(nodes)
    words = f"{manifest.get('append', '')} {append}".split()
    window = manifest.get("image", {}).get("window", 0)
    return ImageSize(packed, in_pages(files), count, "rootfstype=ramfs" in words, window)


def read_estimate(image: Path, manifest: Mapping[str, Any], kernel: Path, append: str = "") -> MemoryEstimate:
    """Estimate from an image and the kernel that is going to boot it; append: words for the kernel."""
    with kernel.open("rb") as file:
        return estimate(read_size(image, manifest, append), init_size(file.read(_HEADER)))


def measure_minimum(
    machine: Machine, boot: Boot, estimated: MemoryEstimate, heard: Callable[[Attempt], None]
) -> MeasuredMinimum:
    """Find the true limit by booting. `heard` is told of every attempt.

    Raises GuestError if the guest does not boot even with plenty of memory.
    """
    machine = replace(machine, memory=None)  # it would override the boot's
    plenty = _attempt(machine, replace(boot, memory=2 * estimated.comfortable, limit_s=_FIRST_PATIENCE_S))
    heard(plenty)
    if not plenty.booted:
        raise GuestError(f"the image does not boot with {plenty.memory} MiB either: {plenty.why}")
    patient = replace(boot, limit_s=max(_LEAST_PATIENCE_S, _PATIENCE * plenty.seconds))

    def boots(memory: int) -> bool:
        attempt = _attempt(machine, replace(patient, memory=memory))
        heard(attempt)
        return attempt.booted

    step = max(1, estimated.least // 100)
    low, high = (int(estimated.least * factor) for factor in (1 - _WIDTH, 1 + _WIDTH))
    return MeasuredMinimum(find_least(boots, low, high, step), step)


def find_least(boots: Callable[[int], bool], low: int, high: int, step: int) -> int:
    """Find the least value for which `boots` is true, to `step`, supposing that it is true from there on.

    The interval is moved down or up by its width until the limit is inside.
    """
    width = high - low
    while not boots(high):
        low, high = high, high + width
    while low > 0 and boots(low):
        low, high = low - width, low
    low = max(low, 0)
    while high - low > step:
        middle = (low + high) // 2
        if boots(middle):
            high = middle
        else:
            low = middle
    return high


def _attempt(machine: Machine, boot: Boot) -> Attempt:
    start = time.monotonic()
    with VM(machine, boot) as vm:
        try:
            vm.settled(timeout=boot.limit_s)
        except GuestTimeoutError:
            why = f"it had not settled after {boot.limit_s:.0f} s"
        except GuestError as e:
            why = str(e.args[0]).partition("\n")[0]  # without the console
        else:
            return Attempt(boot.memory, True, time.monotonic() - start)
    return Attempt(boot.memory, False, time.monotonic() - start, why)
