"""Makes a kernel configuration from a base and wishes, and compares what came of it with what was wished for.

Kbuild makes the base, kconfiglib finds what the wishes need, and kbuild's olddefconfig has the last word. Nothing
is written into the source tree.
"""

import gzip
import platform
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hostbuild import kconfig
from hostbuild.errors import InputError
from hostbuild.kbuild import drivers, toolchain
from hostbuild.kbuild.options import Options, load_options
from hostbuild.kbuild.source import SourceTree
from hostbuild.kconfig import Wish
from hostbuild.ui import Reporter

GUEST_FRAGMENT = Path(__file__).resolve().parent.parent / "data" / "guest.fragment"

_KBUILD_BASES = ("tinyconfig", "defconfig", "allnoconfig", "allmodconfig", "localmodconfig", "x86_64_defconfig")


@dataclass(frozen=True, slots=True)
class Unmet:
    """A wish that did not come true. asked: the word it came from, where it was a driver's. why: what stopped it."""

    wish: Wish
    value: str
    why: str
    asked: str = ""


@dataclass(frozen=True, slots=True)
class Configured:
    """A finished configuration.

    text: the .config. drivers: what was asked for, with the option that grants it.
    unmet: what did not come true. absent: options of hostbuild's own fragment that this source does not have.
    """

    text: str
    drivers: tuple[tuple[drivers.Driver, str], ...]
    unmet: tuple[Unmet, ...]
    absent: tuple[str, ...]


def guest_fragment() -> tuple[Wish, ...]:
    """The fragment that a guest of modaliasd needs."""
    return kconfig.parse_fragment(GUEST_FRAGMENT.read_text(encoding="utf-8"), origin=GUEST_FRAGMENT.name)


def configure(
    source: SourceTree,
    *,
    base: str,
    wishes: Sequence[Wish],
    modules: Sequence[str],
    lookup: drivers.Lookup,
    report: Reporter,
    guest: bool = True,
    without_modules: bool = False,
) -> Configured:
    """Make a configuration.

    base: tinyconfig or another target of kbuild, "running", or the path of a .config. wishes: the user's own.
    modules: drivers by name, modalias or option, wanted as modules. lookup: answers for modaliases.
    guest: lay the guest's fragment over the base. without_modules: unset the base's modules first (mod2noconfig).
    """
    toolchain.require_toolchain()
    with tempfile.TemporaryDirectory(prefix="hostbuild-kconfig-") as scratch, report.step("Configuring", 5) as advance:
        objects = Path(scratch)
        dot_config = objects / ".config"
        _make_base(source, base, objects)
        if without_modules:
            plain = kconfig.parse_config(dot_config.read_text(encoding="utf-8"))
            dot_config.write_text(kconfig.render_config(kconfig.mod2no(plain)), encoding="utf-8")
        advance(1)
        options = load_options(
            source.path, version=source.version, compiler=toolchain.compiler_version(), config=dot_config
        )
        advance(1)
        fragment = guest_fragment() if guest else ()
        named = {wish.option for wish in wishes}
        fragment = tuple(wish for wish in fragment if wish.option not in named)
        granted_wishes = [wish for wish in (*fragment, *wishes) if options.known(wish.option)]
        for wish in granted_wishes:
            options.grant(wish)
        granted = _grant_drivers(source, options, modules, lookup)
        advance(1)
        options.write(dot_config)
        toolchain.run_config_target(source, objects, "olddefconfig")
        advance(1)
        text = dot_config.read_text(encoding="utf-8")
        # the reasons are asked of the values that kbuild ended with
        final = load_options(
            source.path, version=source.version, compiler=toolchain.compiler_version(), config=dot_config
        )
        advance(1)
    return Configured(
        text=text,
        drivers=granted,
        unmet=_unmet(fragment, wishes, granted, kconfig.parse_config(text), final),
        absent=tuple(wish.option for wish in fragment if not final.known(wish.option)),
    )


def read_running_config() -> str:
    """The configuration of the kernel that runs here; InputError where the system does not tell."""
    inside, beside = Path("/proc/config.gz"), Path(f"/boot/config-{platform.release()}")
    if inside.is_file():
        return gzip.decompress(inside.read_bytes()).decode()
    if beside.is_file():
        return beside.read_text(encoding="utf-8")
    raise InputError(
        f"the running kernel does not tell its configuration: there is neither {inside} nor {beside}",
        hint="name the configuration's file",
    )


def _make_base(source: SourceTree, base: str, objects: Path) -> None:
    dot_config = objects / ".config"
    if base in _KBUILD_BASES:
        toolchain.run_config_target(source, objects, base)
        return
    if base == "running":
        dot_config.write_text(read_running_config(), encoding="utf-8")
    else:
        path = Path(base)
        if not path.is_file():
            raise InputError(
                f"the base {base} is neither a file nor one of {', '.join(_KBUILD_BASES)}, running",
                hint="--base tinyconfig is the smallest",
            )
        dot_config.write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    # options that are new in this source get their defaults
    toolchain.run_config_target(source, objects, "olddefconfig")


def _grant_drivers(
    source: SourceTree, options: Options, words: Sequence[str], lookup: drivers.Lookup
) -> tuple[tuple[drivers.Driver, str], ...]:
    """Turn on the drivers; each is returned with the option that it ended with."""
    if not words:
        return ()
    index = drivers.read_index(source.path)
    granted: list[tuple[drivers.Driver, str]] = []
    for word in words:
        for driver in drivers.resolve(word, index, options.known, lookup):
            granted.append((driver, _grant_first(options, driver)))
    return tuple(granted)


def _grant_first(options: Options, driver: drivers.Driver) -> str:
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
    options: Options,
) -> tuple[Unmet, ...]:
    known = [(wish, "") for wish in fragment if options.known(wish.option)]
    asked = [(Wish(option, "m"), driver.asked) for driver, option in granted]
    return tuple(
        Unmet(wish, kconfig.value_of(config, wish.option), options.unmet(wish.option, wish.value), word)
        for wish, word in (*known, *((wish, "") for wish in wishes), *asked)
        if not kconfig.came_true(wish, config)
    )
