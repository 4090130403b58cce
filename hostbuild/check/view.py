"""What the rules look at: an image, and the kernel that is to boot it, as values. read.py fills them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from hostbuild.formats.compress import Compressor
from hostbuild.formats.elf_symbols import Linkage
from hostbuild.formats.initramfs.rootfs import Root
from hostbuild.formats.kconfig import Config
from modaliasd.core.kmod.invocation import Flavour


@dataclass(frozen=True, slots=True)
class KernelFacts:
    """A kernel, as far as its files tell.

    machine: e_machine, 0 where it does not show. config: None where nobody tells. vermagic: "" likewise. exports:
    symbol -> checksum (None: the kernel was built without), or None where they do not show.
    """

    version: str
    machine: int = 0
    config: Config | None = None
    vermagic: str = ""
    exports: Mapping[str, int | None] | None = None

    def option(self, name: str) -> str | None:
        """Return an option's value, "n" where the configuration does not mention it; None where it is not known."""
        return None if self.config is None else self.config.get(name, "n")


@dataclass(frozen=True, slots=True)
class ModuleView:
    """A module's file.

    path: in the image, or in the squashfs of it. inside: the same below the module directory. ending: the
    compressor's, ".xz". info: its .modinfo. linkage: None where it was not looked at, or trouble says why it could
    not be.
    """

    path: str
    inside: str
    name: str
    ending: str = ""
    info: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    linkage: Linkage | None = None
    signed: bool = False
    trouble: str = ""

    def values(self, key: str) -> tuple[str, ...]:
        """Return what .modinfo has under a key."""
        return self.info.get(key, ())


@dataclass(frozen=True, slots=True)
class ModuleTree:
    """lib/modules/RELEASE of an image. tables: modules.dep and its companions, by name."""

    release: str
    path: str
    modules: tuple[ModuleView, ...] = ()
    tables: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProgramView:
    """A file that is run, or a library. wide: 64 bits. run_path: directories, as DT_RUNPATH and DT_RPATH have them.

    For a script, `script` is the words of its first line. executable: by its mode.
    """

    path: str
    executable: bool
    script: tuple[str, ...] = ()
    machine: int = 0
    wide: bool = True
    interpreter: str = ""
    needed: tuple[str, ...] = ()
    soname: str = ""
    run_path: tuple[str, ...] = ()
    shared: bool = False
    elf: bool = False
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Archives:
    """The image as a file. compressors: of its archives. trouble: where and why the kernel stops reading, "" if it
    does not. dropped: members that come to nothing, with the reason.
    """

    size: int = 0
    compressors: tuple[Compressor, ...] = ()
    trouble: str = ""
    dropped: tuple[tuple[str, str], ...] = ()
    untrailed: tuple[int, ...] = ()
    late_microcode: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Limits:
    """What the caller allows. max_size: bytes. memory: MiB. needed: MiB, as qemu.memory reckons, and why."""

    max_size: int | None = None
    memory: int | None = None
    needed: int = 0
    needed_for: str = ""


NO_LIMITS = Limits()
NO_ARCHIVES = Archives()


@dataclass(frozen=True, slots=True)
class View:
    """An image.

    own: it is one of hostbuild's, of which more is known. modprobe: whose the image has, None for none; unpacks: the
    endings of modules that it unpacks. config: path -> text of modprobe.d, modules-load.d and the policy. append: the
    words of the kernel's command line. library_paths: of ld.so.conf.
    """

    root: Root
    archives: Archives = NO_ARCHIVES
    kernel: KernelFacts | None = None
    own: bool = False
    append: str = ""
    trees: Mapping[str, ModuleTree] = field(default_factory=dict)
    release: str = ""
    modprobe: Flavour | None = None
    unpacks: frozenset[str] = frozenset()
    programs: Mapping[str, ProgramView] = field(default_factory=dict)
    config: Mapping[str, str] = field(default_factory=dict)
    library_paths: tuple[str, ...] = ()
    limits: Limits = NO_LIMITS

    @property
    def tree(self) -> ModuleTree | None:
        """The modules of the kernel that boots it."""
        return self.trees.get(self.release)

    def program(self, path: str) -> ProgramView | None:
        """Return the program that a path leads to, links followed."""
        node = self.root.find(path)
        return None if node is None else self.by_node.get(id(node))

    @property
    def by_node(self) -> dict[int, ProgramView]:
        """Programs by their inodes."""
        return {id(node): one for path, one in self.programs.items() if (node := self.root.find(path))}
