"""Makes a kernel configuration from a base and wishes, and compares what came of it with what was wished for.

Kbuild makes the base, kconfiglib finds what the wishes need, and kbuild's olddefconfig has the last word.
Nothing is written into the source tree.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hostbuild.errors import CommandError, InputError
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

GUEST_FRAGMENT = Path(__file__).with_name("guest.fragment")

_KBUILD_BASES = (
    "tinyconfig",
    "defconfig",
    "allnoconfig",
    "allmodconfig",
    "localmodconfig",
    "x86_64_defconfig",
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


def guest_fragment() -> tuple[Wish, ...]:
    """Return the fragment that a guest of modaliasd needs."""
    return kconfig.parse_fragment(GUEST_FRAGMENT.read_text(encoding="utf-8"), origin=GUEST_FRAGMENT.name)


def wishes_of(word: str) -> tuple[Wish, ...]:
    """Return what --enable names: the options of a fragment's file, or a single one."""
    path = Path(word)
    if path.is_file():
        return kconfig.parse_fragment(path.read_text(encoding="utf-8"), origin=word)
    return (kconfig.parse_wish(word),)


def configure(
    source: SourceTree,
    *,
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

    base: tinyconfig or another target of kbuild, a .config, or a kernel as kernels/find.py takes it.
    wishes: the user's own.
    modules: drivers by name, modalias or option, wanted as modules. modaliases: a capture's; of these one for
    which there is no driver is passed over. lookup: answers for modaliases.
    guest: lay the guest's fragment over the base. without_modules: unset the base's modules first
    (mod2noconfig). by_hand: open kbuild's menu at the end.
    """
    toolchain.require_toolchain(menu=by_hand)
    named = {wish.option for wish in wishes}
    fragment = tuple(wish for wish in (guest_fragment() if guest else ()) if wish.option not in named)
    with scratch_directory() as scratch:
        objects = scratch
        dot_config = objects / ".config"
        with report.step("Configuring", 3) as advance:
            _make_base(source, base, objects)
            if without_modules:
                _rewrite(dot_config, kconfig.mod2no)
            advance(1)
            options = _load(source, dot_config)
            advance(1)
            for wish in (*fragment, *wishes):
                options.grant(wish)
            wanted, unanswered = _find_drivers(source, options, modules, modaliases, lookup)
            granted = tuple((driver, _grant_first(options, driver)) for driver in wanted)
            options.write(dot_config)
            toolchain.run_config_target(source, objects, "olddefconfig")
            advance(1)
        if by_hand:
            _run_menu(source, objects)
        # the reasons are asked of the values that kbuild ended with
        final = _load(source, dot_config)
        text = dot_config.read_text(encoding="utf-8")
    return Configured(
        text=text,
        drivers=granted,
        unmet=_unmet(fragment, wishes, granted, kconfig.parse_config(text), final, options),
        unanswered=unanswered,
    )


def _load(source: SourceTree, dot_config: Path) -> KernelOptions:
    return load_options(
        source.path, version=source.version, compiler=toolchain.compiler_version(), config=dot_config
    )


def _rewrite(dot_config: Path, change: Callable[[kconfig.Config], kconfig.Config]) -> None:
    options = kconfig.parse_config(dot_config.read_text(encoding="utf-8"))
    dot_config.write_text(kconfig.render_config(change(options)), encoding="utf-8")


def _run_menu(source: SourceTree, objects: Path) -> None:
    """Open menuconfig on the terminal that hostbuild itself has."""
    argv = toolchain.make_argv(source, objects, "menuconfig")
    status = spawn(argv, stdin=None, env=toolchain.make_environment(os.environ)).wait()
    if status != 0:
        raise CommandError(
            f"kbuild's menu ended with status {status}; its output is above",
            argv=tuple(argv),
            status=status,
            stderr="",
        )


def _make_base(source: SourceTree, base: str, objects: Path) -> None:
    dot_config = objects / ".config"
    if base in _KBUILD_BASES:
        toolchain.run_config_target(source, objects, base)
        return
    if base == "running":
        dot_config.write_text(read_running_config()[0], encoding="utf-8")
    else:
        if not (is_word(base) or os.path.exists(base)):
            raise InputError(
                f"the base {base} is neither a file nor one of {', '.join(_KBUILD_BASES)}, running"
                f"{did_you_mean(base, [*_KBUILD_BASES, 'running'])}",
                hint="--base tinyconfig is the smallest",
            )
        dot_config.write_text(read_config_of(base)[0], encoding="utf-8")
    # options that are new in this source get their defaults
    toolchain.run_config_target(source, objects, "olddefconfig")


def _find_drivers(
    source: SourceTree,
    options: KernelOptions,
    words: Sequence[str],
    modaliases: Sequence[str],
    lookup: drivers.Lookup,
) -> tuple[list[drivers.Driver], tuple[str, ...]]:
    """Return the drivers that words and modaliases mean, each once, and the modaliases that mean none."""
    if not words and not modaliases:
        return [], ()
    index = drivers.read_index(source.path)
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
