"""Makes a kernel configuration from a base and wishes, and compares what came of it with what was wished for.

Kbuild makes the base, kconfiglib finds what the wishes need, and kbuild's olddefconfig has the last word.
Nothing is written into the source tree.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hostbuild.arch import Arch, require_own
from hostbuild.errors import CommandError, InputError, UsageError
from hostbuild.formats import kconfig
from hostbuild.formats.kconfig import Wish
from hostbuild.fs.scratch import scratch_directory
from hostbuild.kbuild import drivers, toolchain
from hostbuild.kbuild.configfile import read_config_of, read_running_config
from hostbuild.kbuild.options import KernelOptions, load_options
from hostbuild.kbuild.source import SourceTree
from hostbuild.kernels.find import is_word
from hostbuild.near import did_you_mean
from hostbuild.run import spawn
from hostbuild.ui import Reporter

_FRAGMENTS = Path(__file__).parent

_KBUILD_BASES = (
    "tinyconfig",
    "defconfig",
    "allnoconfig",
    "allmodconfig",
    "localmodconfig",
)


@dataclass(frozen=True, slots=True)
class Unmet:
    """A wish that did not come true. asked: the driver's word that it came from. why: what stopped it."""

    wish: Wish
    value: str
    why: str
    asked: str = ""


@dataclass(frozen=True, slots=True)
class Configured:
    """A finished configuration.

    text: the .config. drivers: what was asked for, with the option that grants it.
    unmet: what did not come true. unanswered: a capture's modaliases for which this source has no driver.
    """

    text: str
    drivers: tuple[tuple[drivers.Driver, str], ...]
    unmet: tuple[Unmet, ...]
    unanswered: tuple[str, ...]

    def count(self, value: str) -> int:
        """Return how many options have this value: "m" counts the modules."""
        return sum(found == value for found in kconfig.parse_config(self.text).values())


def guest_fragment(arch: Arch) -> tuple[Wish, ...]:
    """Return what a guest of modaliasd needs: guest.fragment, and the architecture's own, guest.ARCH.fragment."""
    names = ("guest.fragment", f"guest.{arch}.fragment")
    text = "".join((_FRAGMENTS / name).read_text(encoding="utf-8") for name in names)
    return kconfig.parse_fragment(text, origin=" and ".join(names))


def arch_of_base(base: str) -> Arch:
    """Return the architecture that a base is for: its configuration's, or this machine's."""
    return _arch_of(None if base in _bases(None) else _read_base(base, None))


def wishes_of(word: str) -> tuple[Wish, ...]:
    """Return what --enable names: the options of a fragment's file, or a single one."""
    path = Path(word)
    if path.is_file():
        return kconfig.parse_fragment(path.read_text(encoding="utf-8"), origin=word)
    return (kconfig.parse_wish(word),)


def configure(
    source: SourceTree,
    *,
    arch: Arch | None = None,
    base: str,
    wishes: Sequence[Wish],
    modules: Sequence[str],
    modaliases: Sequence[str] = (),
    lookup: drivers.Lookup,
    report: Reporter,
    guest: bool = True,
    without_modules: bool = False,
    by_hand: bool = False,
) -> Configured:
    """Make a configuration.

    arch: the architecture that it is for; None for that of the base where it has one, else this machine's.
    base: tinyconfig or another target of kbuild, a .config, or a kernel as kernels/find.py takes it.
    wishes: the user's own.
    modules: drivers by name, modalias or option, wanted as modules. modaliases: a capture's; of these one for
    which there is no driver is passed over. lookup: answers for modaliases.
    guest: lay the guest's fragment over the base. without_modules: unset the base's modules first
    (mod2noconfig). by_hand: open kbuild's menu at the end.
    """
    given = None if base in _bases(arch) else _read_base(base, arch)
    arch = arch or _arch_of(given)
    toolchain.require_toolchain(arch, menu=by_hand)
    named = {wish.option for wish in wishes}
    fragment = tuple(wish for wish in (guest_fragment(arch) if guest else ()) if wish.option not in named)
    with scratch_directory() as scratch:
        objects = scratch
        dot_config = objects / ".config"
        with report.step("Configuring", 3) as advance:
            if given is not None:
                dot_config.write_text(given, encoding="utf-8")
            # options that are new in this source get their defaults
            toolchain.run_config_target(source, objects, base if given is None else "olddefconfig", arch)
            if without_modules:
                _rewrite(dot_config, kconfig.mod2no)
            advance(1)
            options = _load(source, dot_config, arch)
            advance(1)
            for wish in (*fragment, *wishes):
                options.grant(wish)
            index = drivers.read_index(source.path, arch) if modules or modaliases else {}
            wanted, unanswered = _find_drivers(index, options, modules, modaliases, lookup)
            granted = tuple((driver, _grant_first(options, driver)) for driver in wanted)
            options.write(dot_config)
            toolchain.run_config_target(source, objects, "olddefconfig", arch)
            advance(1)
        if by_hand:
            _run_menu(source, objects, arch)
        # the reasons are asked of the values that kbuild ended with
        final = _load(source, dot_config, arch)
        text = dot_config.read_text(encoding="utf-8")
    return Configured(
        text=text,
        drivers=granted,
        unmet=_unmet(fragment, wishes, granted, kconfig.parse_config(text), final, options),
        unanswered=unanswered,
    )


def _load(source: SourceTree, dot_config: Path, arch: Arch) -> KernelOptions:
    compiler = toolchain.compiler_version(arch)
    return load_options(source.path, arch=arch, version=source.version, compiler=compiler, config=dot_config)


def _rewrite(dot_config: Path, change: Callable[[kconfig.Config], kconfig.Config]) -> None:
    options = kconfig.parse_config(dot_config.read_text(encoding="utf-8"))
    dot_config.write_text(kconfig.render_config(change(options)), encoding="utf-8")


def _run_menu(source: SourceTree, objects: Path, arch: Arch) -> None:
    """Open menuconfig on the terminal that hostbuild itself has."""
    argv = toolchain.make_argv(source, objects, "menuconfig", arch=arch)
    status = spawn(argv, stdin=None, env=toolchain.make_environment(os.environ)).wait()
    if status != 0:
        raise CommandError(
            f"kbuild's menu ended with status {status}; its output is above",
            argv=tuple(argv),
            status=status,
            stderr="",
        )


def _arch_of(given: str | None) -> Arch:
    return kconfig.arch_of(given or "") or require_own()


def _bases(arch: Arch | None) -> tuple[str, ...]:
    """Return kbuild's targets that make a configuration from nothing."""
    return (*_KBUILD_BASES, "x86_64_defconfig") if arch in (None, Arch.AMD64) else _KBUILD_BASES


def _read_base(base: str, arch: Arch | None) -> str:
    """Read the configuration that a base names. Raises InputError, and UsageError for one of another architecture."""
    if base == "running":
        text = read_running_config()[0]
    else:
        if not (is_word(base) or os.path.exists(base)):
            known = (*_bases(arch), "running")
            raise InputError(
                f"the base {base} is neither a file nor one of {', '.join(known)}{did_you_mean(base, known)}",
                hint="--base tinyconfig is the smallest",
            )
        text = read_config_of(base)[0]
    require_arch(text, arch, f"the base {base}")
    return text


def require_arch(config: str, arch: Arch | None, what: str) -> None:
    """Raise UsageError where a configuration tells that it is for another architecture. what: to call it."""
    own = kconfig.arch_of(config)
    if arch is not None and own not in (None, arch):
        raise UsageError(f"{what} is a configuration for {own}, and not for {arch}", hint=f"--arch {own}")


def _find_drivers(
    index: Mapping[str, tuple[str, ...]],
    options: KernelOptions,
    words: Sequence[str],
    modaliases: Sequence[str],
    lookup: drivers.Lookup,
) -> tuple[list[drivers.Driver], tuple[str, ...]]:
    """Return the drivers that words and modaliases mean, each once, and the modaliases that mean none."""
    wanted = [driver for word in words for driver in drivers.resolve(word, index, options.known, lookup)]
    answers = {modalias: drivers.of_modalias(modalias, index, lookup) for modalias in modaliases}
    wanted += [driver for answer in answers.values() for driver in answer]
    once = {(driver.module, driver.options): driver for driver in reversed(wanted)}
    return list(reversed(once.values())), tuple(name for name, answer in answers.items() if not answer)


def _grant_first(options: KernelOptions, driver: drivers.Driver) -> str:
    """Try the options that build a driver in turn, until one comes true; the first if none does.

    One that the base has built in becomes a module: that is what was asked for.
    """
    for option in sorted(driver.options, key=lambda name: options.value(name) == "n"):
        options.grant(Wish(option, "m"))
        if options.value(option) in ("m", "y"):
            return option
    return driver.options[0]


def _unmet(
    fragment: Sequence[Wish],
    wishes: Sequence[Wish],
    granted: Sequence[tuple[drivers.Driver, str]],
    config: kconfig.Config,
    final: KernelOptions,
    granting: KernelOptions,
) -> tuple[Unmet, ...]:
    """Compare the wishes with what came of them; `final` gives the reasons, `granting` who needed what."""
    known = [(wish, "") for wish in fragment if final.known(wish.option)]
    asked = [(Wish(option, "m"), driver.asked) for driver, option in granted]
    unmet = []
    for wish, word in (*known, *((wish, "") for wish in wishes), *asked):
        if kconfig.came_true(wish, config):
            continue
        needing = granting.needed_for(wish.option) if wish.value == "n" else ""
        why = f"{needing} needs it" if needing else final.unmet(wish.option, wish.value)
        unmet.append(Unmet(wish, kconfig.value_of(config, wish.option), why, word))
    return tuple(unmet)
