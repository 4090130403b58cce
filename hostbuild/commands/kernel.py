"""`hostbuild kernel`: from a source tree to a kernel that make-image takes."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hostbuild import ui
from hostbuild.commands import _options
from hostbuild.commands.unknown import Group
from hostbuild.errors import UsageError
from hostbuild.fs.files import write_file
from hostbuild.fs.path_types import InputWord, OutputPath
from hostbuild.kbuild.source import DEFAULT as DEFAULT_SOURCE
from hostbuild.ui import print_json, reporter

if TYPE_CHECKING:
    from hostbuild.arch import Arch
    from hostbuild.kbuild.fitness import Finding

_SOURCE_HELP = f"A tree, a tarball, or a Debian package as deb:NAME[/RELEASE]. [default: {DEFAULT_SOURCE}]"

# a tree in which something was configured is one that kbuild refuses
_SOURCE = InputWord(lambda word: (Path(word), Path(word, ".config")))

_WORD = 72  # characters of what was asked for, as far as it is shown


_arch = click.option(
    "--arch",
    type=_options.ArchType(),
    metavar="ARCH",
    help="Build for amd64, arm64 or riscv64; another than this machine's takes its cross compiler. Default: the "
    "configuration's, or this machine's.",
)


@click.group(cls=Group)
def command() -> None:
    """Fetch, configure, check and build a kernel."""


@command.command()
@click.argument("source", type=_SOURCE, default=DEFAULT_SOURCE)
@_options.as_json("where it is")
def fetch(source: str, as_json: bool) -> None:
    """Get a kernel's source: deb:PACKAGE, a tarball, or a tree (which is only looked at)."""
    from hostbuild.kbuild.source import require_source

    tree = require_source(source, reporter(as_json=as_json))
    if as_json:
        print_json({"version": tree.version, "path": str(tree.path)})
    else:
        click.echo(f"Linux {tree.version}: {tree.path}")


@command.command()
@click.option("--source", type=_SOURCE, default=DEFAULT_SOURCE, help=_SOURCE_HELP)
@_arch
@click.option(
    "--base",
    type=InputWord(),
    default="tinyconfig",
    show_default=True,
    help="tinyconfig, defconfig, a .config, or a kernel as make-image's --kernel names it.",
)
@click.option("--mod2noconfig", is_flag=True, help="Turn off all modules of the base first.")
@click.option(
    "--enable",
    type=InputWord(),
    multiple=True,
    metavar="FRAGMENT|OPTION",
    help="A file of options, or one option: IPV6, IPV6=m.",
)
@click.option(
    "--module",
    "modules",
    type=InputWord(),
    multiple=True,
    metavar="DRIVER",
    help="e1000, usb-storage, a modalias, or a capture's file.",
)
@click.option("--no-guest", is_flag=True, help="Leave out what a guest of modaliasd needs.")
@click.option("--menuconfig", is_flag=True, help="Continue by hand in kbuild's menu.")
@click.option(
    "--aliases",
    type=InputWord(),
    metavar="KERNEL",
    help="The kernel whose modules.alias knows the modaliases. [default: Debian's of the architecture]",
)
@click.option(
    "-o",
    "--output",
    type=OutputPath("the configuration"),
    default=Path("kernel.config"),
    show_default=True,
    help="The file to write.",
)
@_options.as_json("what was set, and what could not be")
def configure(
    *,
    source: str,
    arch: "Arch | None",
    base: str,
    mod2noconfig: bool,
    enable: tuple[str, ...],
    modules: tuple[str, ...],
    no_guest: bool,
    menuconfig: bool,
    aliases: str | None,
    output: Path,
    as_json: bool,
) -> int:
    """Make a configuration from a base, options and drivers; each option that could not be set is named.

    Exit status 1 if there is one; the configuration is written all the same.
    """
    from hostbuild.kbuild import configure as work
    from hostbuild.kbuild.modaliases import KernelAliases, read_modaliases
    from hostbuild.kbuild.source import require_source

    if menuconfig and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(
            "--menuconfig needs a terminal, and this is not one", hint="use --enable and --module"
        )
    report = reporter(as_json=as_json)
    wishes = [wish for word in enable for wish in work.wishes_of(word)]
    captures = [Path(word) for word in modules if Path(word).is_file()]
    modaliases = [modalias for path in captures for modalias in read_modaliases(path)]
    tree = require_source(source, report)
    arch = arch or work.arch_of_base(base)
    made = work.configure(
        tree,
        arch=arch,
        base=base,
        wishes=wishes,
        modules=[word for word in modules if not Path(word).is_file()],
        modaliases=modaliases,
        lookup=KernelAliases(aliases, arch, report),
        report=report,
        guest=not no_guest,
        without_modules=mod2noconfig,
        by_hand=menuconfig,
    )
    write_file(output, made.text.encode(), "the configuration")
    if as_json:
        print_json(
            {
                "config": str(output),
                "version": tree.version,
                "arch": arch.value,
                "modules": made.count("m"),
                "built_in": made.count("y"),
                "drivers": [
                    {"asked": driver.asked, "option": f"CONFIG_{option}", "module": driver.module}
                    for driver, option in made.drivers
                ],
                "unanswered": list(made.unanswered),
                "unmet": [
                    {"asked": one.asked, "wanted": one.wish.line(), "is": str(one.value), "why": one.why}
                    for one in made.unmet
                ],
            }
        )
        return 1 if made.unmet else 0
    for driver, option in made.drivers:
        named = f" (module {driver.module})" if driver.module else ""
        ui.line(f"{_shortened(driver.asked)}: CONFIG_{option}{named}")
    if made.unanswered:
        known = len(set(modaliases))
        click.echo(
            f"{len(made.unanswered)} of {known} modaliases have no driver in this source, or need none",
            err=True,
        )
    for unmet in made.unmet:
        asked = f"{_shortened(unmet.asked)}: " if unmet.asked else ""
        ui.complain(f"not met: {asked}{unmet.wish.line()} is {unmet.value}; {unmet.why}")
    click.echo(
        f"{output}: Linux {tree.version}, {made.count('m')} modules, {made.count('y')} options built in"
    )
    return 1 if made.unmet else 0


@command.command()
@click.argument("kernel", metavar="[CONFIG|KERNEL]", type=InputWord(), default="running")
@click.option("--all", "everything", is_flag=True, help="Show what is satisfied, too.")
@_options.as_json("the findings")
def check(*, kernel: str, everything: bool, as_json: bool) -> int:
    """Check whether a kernel suits make-image and modaliasd; each finding has its reason and its fix.

    A .config, or a kernel as make-image's --kernel names it: deb:linux-image-amd64/trixie, a vmlinuz, a build tree, a
    tar archive, a .deb, a version, running. Exit status 1 if it does not.
    """
    from hostbuild.formats.kconfig import arch_of, parse_config
    from hostbuild.kbuild import fitness
    from hostbuild.kbuild.configfile import read_config_of

    config, origin = read_config_of(kernel)
    findings = fitness.check(parse_config(config), arch_of(config))
    fit = fitness.is_fit(findings)
    if as_json:
        print_json(
            {
                "config": origin,
                "fit": fit,
                "findings": [
                    {
                        "wants": finding.requirement.wants,
                        "met": finding.met,
                        "grade": finding.requirement.grade.value,
                        "reason": finding.requirement.reason,
                        "fix": list(finding.requirement.fix),
                    }
                    for finding in findings
                ],
            }
        )
        return 0 if fit else 1
    for finding in findings:
        if everything or not finding.met:
            _print_finding(finding)
    met = sum(finding.met for finding in findings)
    verdict = "fit" if fit else "not fit"
    click.echo(f"{origin}: {verdict} for make-image and modaliasd ({met} of {len(findings)} points met)")
    return 0 if fit else 1


@command.command()
@click.option("--source", type=_SOURCE, default=DEFAULT_SOURCE, help=_SOURCE_HELP)
@_arch
@click.option(
    "--config",
    type=InputWord(),
    default="kernel.config",
    show_default=True,
    help="What `kernel configure` wrote, any .config, or a kernel as make-image's --kernel names it.",
)
@click.option(
    "-j", "--jobs", type=click.IntRange(min=1), help="Run this many jobs at once. [default: one per CPU]"
)
@click.option("--strip", is_flag=True, help="Strip debug sections from the modules (this voids signatures).")
@click.option(
    "-o",
    "--output",
    type=OutputPath("the kernel", directory=True, parents=True),
    help="Copy the kernel there, as boot/ and lib/.",
)
@_options.as_json("what was built")
def build(
    *,
    source: str,
    arch: "Arch | None",
    config: str,
    jobs: int | None,
    strip: bool,
    output: Path | None,
    as_json: bool,
) -> None:
    """Build a kernel and its modules; what was built before is not built again."""
    import os

    from hostbuild.formats.sniff import near_files
    from hostbuild.kbuild import build as work
    from hostbuild.kbuild.configfile import read_config_of
    from hostbuild.kbuild.configure import require_arch
    from hostbuild.kbuild.source import require_source
    from hostbuild.kernels.find import is_word

    if not (is_word(config) or os.path.exists(config)):
        raise UsageError(
            f"there is no configuration {config}{near_files(Path(config))}",
            hint="hostbuild kernel configure --module e1000",
        )
    text, _ = read_config_of(config)
    require_arch(text, arch, config)
    report = reporter(as_json=as_json)
    tree = require_source(source, report)
    jobs = jobs or len(os.sched_getaffinity(0))
    built = work.build(tree, text, arch=arch, jobs=jobs, strip=strip, report=report)
    if output is not None:
        built = work.copy_built(built, output)
    if as_json:
        print_json(
            {
                "version": built.version,
                "arch": built.arch.value,
                "vmlinuz": str(built.vmlinuz),
                "modules": built.modules,
                "log": str(built.log) if built.log else None,
            }
        )
        return
    how = f"built, log {built.log}" if built.log else "built before"
    click.echo(f"Linux {built.version}, {built.modules} modules ({how})")
    click.echo(f"hostbuild make-image --kernel {built.vmlinuz}")


def _shortened(word: str) -> str:
    """Return what somebody asked for on one line: a cpu: modalias has more than a thousand characters."""
    return word if len(word) <= _WORD else f"{word[: _WORD - 1]}…"


def _print_finding(finding: "Finding") -> None:
    requirement = finding.requirement
    label = "ok" if finding.met else requirement.grade.value
    click.echo(f"{label:6} {requirement.wants}: {requirement.reason}")
    if not finding.met and requirement.fix:
        words = " ".join(f"--enable {option}" for option in requirement.fix)
        click.echo(f"{'':6} fix it with: hostbuild kernel configure {words}")
