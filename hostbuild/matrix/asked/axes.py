"""What a matrix is made of, as values: kernels, machines, images, tests, and the rows that are about some of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from hostbuild.arch import Arch

AXES = ("kernel", "architecture", "machine", "image", "test")


@dataclass(frozen=True, slots=True)
class MatrixKernel:
    """name: what it is called in tables. word: as kernels/find.py takes it. arch: None where only the kernel tells."""

    name: str
    word: str
    arch: Arch | None = None


@dataclass(frozen=True, slots=True)
class MatrixImage:
    """An image to be built for each kernel, by make-image's options of these names."""

    name: str
    modules: str = "qemu"
    overlays: tuple[Path, ...] = ()
    firmware_dirs: tuple[Path, ...] = ()
    modprobe: str = "busybox"
    python: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GuestTest:
    """What a guest is booted for: a command in it, a script for its shell, files of pytest here; none: it settles."""

    name: str
    command: tuple[str, ...] = ()
    script: Path | None = None
    pytest: tuple[Path, ...] = ()
    append: str = ""
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class Named:
    """A value of an axis that has nothing but its name."""

    name: str


@dataclass(frozen=True, slots=True)
class Where:
    """Which cells a row is about: patterns as a shell's, by axis; an axis without any takes all."""

    kernel: tuple[str, ...] = ()
    architecture: tuple[str, ...] = ()
    machine: tuple[str, ...] = ()
    image: tuple[str, ...] = ()
    test: tuple[str, ...] = ()

    def patterns(self, axis: str) -> tuple[str, ...]:
        """Return an axis's patterns."""
        found: tuple[str, ...] = getattr(self, axis)
        return found

    @staticmethod
    def fits_any(pattern: str, names: Iterable[str]) -> bool:
        """Tell whether a pattern fits one of the names."""
        return any(name == pattern or fnmatchcase(name, pattern) for name in names)

    def fits(self, names: Sequence[str]) -> bool:
        """Tell whether it is about a cell; its names in the order of AXES, "" where one is not known."""
        return all(
            not self.patterns(axis) or any(self.fits_any(one, [name]) for one in self.patterns(axis))
            for axis, name in zip(AXES, names, strict=True)
        )


@dataclass(frozen=True, slots=True)
class Expectation:
    """What cells are to come to. status: None says nothing. modules: to be loaded. bound: DRIVER, or DEVICE=DRIVER."""

    where: Where
    status: int | None = None
    modules: tuple[str, ...] = ()
    bound: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Spec:
    """A whole matrix.toml. machines: names, or paths of files. timeout_s: of tests without one of their own."""

    path: Path
    kernels: tuple[MatrixKernel, ...]
    architectures: tuple[Arch, ...]
    machines: tuple[str, ...]
    images: tuple[MatrixImage, ...]
    tests: tuple[GuestTest, ...]
    devices: tuple[str, ...] = ()
    append: str = ""
    memory: str | None = None
    cpus: int | None = None
    accel: str = "auto"
    timeout_s: float = 600.0
    excludes: tuple[Where, ...] = ()
    expectations: tuple[Expectation, ...] = ()

    def values(self, axis: str) -> Sequence[MatrixKernel | MatrixImage | GuestTest | Named]:
        """Return the values of an axis; of the architectures those that are known without looking at a kernel."""
        if axis == "kernel":
            return self.kernels
        if axis == "image":
            return self.images
        if axis == "test":
            return self.tests
        if axis == "machine":
            return [Named(machine_name(one)) for one in self.machines]
        if self.architectures:
            return [Named(one.value) for one in self.architectures]
        return [] if any(one.arch is None for one in self.kernels) else [Named(one.value) for one in Arch]


def machine_name(machine: str) -> str:
    """Return what a machine is called: its name, or its file's without the ending."""
    return Path(machine).stem if "/" in machine or machine.endswith(".toml") else machine
