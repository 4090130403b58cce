"""hostbuild try: a module of the user's own, loaded for its device in a guest; bound, or why not."""

import io
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hostbuild import ui
from hostbuild.commands import _options
from hostbuild.commands.guests import _running
from hostbuild.errors import HostbuildError, InputError, UsageError
from hostbuild.fs.path_types import InputPath, InputWord
from hostbuild.live.options import NOBODY_LOOKS_S, GuestOptions
from modaliasd.core.kmod.names import module_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from hostbuild.guest.agent import Agent
    from hostbuild.image.build import ImageOptions
    from hostbuild.image.from_tree import Ready
    from hostbuild.image.modules.overlaid import OverlaidModule
    from hostbuild.live.verdict import Verdict
    from hostbuild.qemu.vm import VM

_EPILOG = """The module is what `make -C TREE M=DIR` makes. It lies in the guest with its own aliases, so the device
has it loaded, as it will be on a real machine; where none does, it is loaded by its name. The answer says which
device is bound by which alias, or why none is: another version magic, symbols or modules that are missing, no device,
another driver, a probe that failed; with what the kernel's log says of it.

With -- COMMAND, it is run where the module is bound, and its exit status is ours; the answer is on standard error.

\b
The exit status:
  0         a device is bound to a driver of the module
  1         none is
  100, 111  the command line or what it names, or this machine, is at fault
  112       the guest panicked, or vanished
  124       it was still running, or hung, at the time limit

\b
Examples:
  hostbuild try edu.ko --device edu
  hostbuild try edu.ko --kernel ~/linux --device edu -- cat /dev/edu0
  hostbuild try nic.ko --also bus.ko --device e1000 --modules virtio,-e1000
"""


@click.command("try", epilog=_EPILOG)
@click.argument("module", type=InputPath(), metavar="MODULE.ko")
@click.option(
    "--kernel",
    type=InputWord(),
    metavar="KERNEL",
    help="The kernel to try it on, as make-image has it; a build tree, mostly. Default: the one that MODULE was built "
    "for, as its version magic says: a tree that was booted before, this machine's, or Debian's.",
)
@click.option(
    "--also",
    multiple=True,
    type=InputPath(),
    metavar="FILE.ko",
    help="Another module of yours, which MODULE needs.",
)
@_options.selection
@_options.overlays
@_options.firmware_dirs
@_options.guest_to_be
@_options.list_devices
@_options.words
@_options.cwd
@_options.ledger_out
@_options.timeout()
@_options.verbose
@_options.dry_run
@_options.as_json("the answer")
def command(
    module: Path,
    kernel: str | None,
    also: tuple[Path, ...],
    selection: str | None,
    overlays: tuple[Path, ...],
    firmware_dirs: tuple[Path, ...],
    guest: GuestOptions,
    words: tuple[str, ...],
    cwd: str | None,
    ledger_out: Path | None,
    timeout: float | None,
    verbose: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Load MODULE.ko for its device in a guest, and say what it is bound to, or why it is not."""
    from hostbuild.formats.compress import Compressor
    from hostbuild.image.appended import LackingError
    from hostbuild.image.build import ImageOptions
    from hostbuild.live.verdict import no_dependency, wrong_kernel

    if as_json and words:
        raise UsageError("--json and a command do not go together: standard output is the command's")
    wish = _running.Wish(
        words, cwd, None, ledger_out, False, timeout, False, verbose, dry_run, as_json and dry_run
    )
    _running.check(wish, guest)
    tell = partial(_tell, on_stderr=bool(words), as_json=as_json)
    tried, *others = [_read(path) for path in (module, *also)]
    options = ImageOptions(
        kernel=kernel or _kernel_of(tried, module),
        modules=selection or "",
        overlays=overlays,
        firmware_dirs=firmware_dirs,
        compressor=Compressor.NONE,
    )
    found = _Kernel(options)
    name = tried.module.name
    for one in (tried, *others):
        if (magic := found.refuses(one)) is not None:
            return tell(wrong_kernel(one.module.name, one.module.vermagic, magic), ())
    try:
        with found.image([tried, *others]) as ready:
            for note in ready.notes:
                ui.note(note)
            guest = replace(guest, image=ready.image, kernel=str(ready.kernel), made_of=str(options.kernel))
            if dry_run:
                return _running.live(guest, wish)
            return _try(guest, wish, tried, tell)
    except LackingError as e:
        return tell(no_dependency(name, e.names, found.version), ())


class _Kernel:
    """The kernel that a module is tried on: a build tree, or any other."""

    def __init__(self, options: "ImageOptions") -> None:
        """Find it. Raises KernelError where there is none."""
        from hostbuild.formats.modules.vermagic import magic_of
        from hostbuild.kernels.build_tree import require_module_files
        from hostbuild.kernels.find import find_kernel
        from hostbuild.kernels.kernel import require_kernel

        self._options = options
        self._tree: Path | None = None
        tree = find_kernel(options.kernel, ui.reporter()).tree
        if tree is not None:
            self._tree, self.version = tree.path, tree.version
            first = next(iter(require_module_files(tree).values()), None)
            self._magic = magic_of(first.read_bytes()) if first is not None else ""
        else:
            self._kernel = require_kernel(options.kernel, None, ui.reporter())
            self.version, self._magic = self._kernel.version, self._kernel.vermagic

    def refuses(self, one: "OverlaidModule") -> str | None:
        """Return the kernel's version magic, or its version, where it is sure to refuse a module; None else."""
        from hostbuild.formats.modules.vermagic import Fit, judge

        fit = judge(one.module.vermagic, self.version, self._magic)
        return (self._magic or self.version) if fit is Fit.NONE else None

    def image(self, put: "Sequence[OverlaidModule]") -> "AbstractContextManager[Ready]":
        """Give an image with these modules in it."""
        from hostbuild.image import kept
        from hostbuild.image.from_tree import appended, image_of_tree

        if self._tree is not None:
            return image_of_tree(self._tree, self._options, ui.reporter(), put)
        options = replace(self._options, modules=self._options.modules or "qemu")
        base = kept.require_image(options, ui.reporter(), kernel=self._kernel)
        return appended(base, self._kernel, put, options, ui.reporter())


def _read(path: Path) -> "OverlaidModule":
    from hostbuild.formats import elf
    from hostbuild.formats.modules.modfile import is_module, plain_path, read_module
    from hostbuild.image.modules.overlaid import read_module_of

    if path.is_dir():
        built = sorted(path.glob("*.ko"))
        hint = f"hostbuild try {built[0]}" if built else f"make -C TREE M={path}"
        raise InputError(f"{path} is a directory, not a module (.ko)", hint=hint)
    if not is_module(path.name):
        raise InputError(f"{path} is not named as a module is (.ko)")
    data = read_module(path)
    plain = plain_path(path.name)
    read = read_module_of(f"extra/{plain}", data, str(path))
    # whatever its file is called, the kernel knows it by the name in it, which .modinfo has since Linux 4.13
    name = next(iter(elf.modinfo(io.BytesIO(data)).get("name", ())), "")
    if not name or module_name(name) == read.module.name:
        return read
    ui.note(f"{path} is the module {name}")
    return read_module_of(f"extra/{name}.ko", data, str(path))


def _kernel_of(tried: "OverlaidModule", path: Path) -> str:
    """Return a word for the kernel that a module was built for. Raises InputError where it cannot be found."""
    from hostbuild.formats.modules.vermagic import release_of
    from hostbuild.image.from_tree import trees_of
    from hostbuild.kernels.find import find_kernel

    release = release_of(tried.module.vermagic)
    if not release:
        raise InputError(
            f"{path} does not say which kernel it was built for (no vermagic)", hint="--kernel TREE"
        )
    trees = trees_of(release)
    if trees:
        return str(trees[0])
    try:
        find_kernel(release, ui.reporter())
    except HostbuildError as e:
        raise InputError(
            f"{path} was built for kernel {release}, which cannot be found: {e}",
            hint="name the tree that it was built with: --kernel TREE",
        ) from e
    return release


def _try(
    guest: GuestOptions,
    wish: _running.Wish,
    tried: "OverlaidModule",
    tell: "Callable[[Verdict, Sequence[str]], int]",
) -> int:
    """Boot, look, tell, and run the command where there is one and the module is bound."""
    from hostbuild.formats import elf
    from hostbuild.guest.command import request
    from hostbuild.guest.share import directory_in
    from hostbuild.live.command import current_directory, leaving, live_with, run_and_end, standard_input
    from hostbuild.live.ready import power_off
    from hostbuild.live.trial import try_module
    from hostbuild.live.verdict import judge_found

    session = guest.session(limit_s=wish.timeout or NOBODY_LOOKS_S, agent=True)
    where = directory_in(guest.shares, current_directory()) if wish.cwd is None else wish.cwd
    start = request(wish.words, directory=where) if wish.words else None

    aliases = elf.modinfo(io.BytesIO(tried.module.read())).get("alias", ())

    def work(vm: "VM", agent: "Agent") -> int:
        found = try_module(vm, agent, tried.module.name, aliases)
        verdict = judge_found(found, aliases)
        status = tell(verdict, found.log)
        if status == 0 and start is not None:
            return run_and_end(vm, agent, start, standard_input())
        power_off(vm, agent, status)
        return status

    with _running.writing_ledger(wish.ledger_out) as ledger:
        live = partial(
            live_with,
            session,
            work,
            ledger=ledger.write if ledger else None,
            console=_running.to_stderr if wish.verbose else None,
        )
        return leaving(live)


def _tell(verdict: "Verdict", log: Sequence[str], *, on_stderr: bool, as_json: bool) -> int:
    """Print the answer: on stdout, or on stderr where a command's output goes there. Return the exit status."""
    status = 0 if verdict.bound else 1
    if as_json:
        answer = {"bound": verdict.bound, "lines": list(verdict.lines), "fix": verdict.fix, "log": list(log)}
        ui.print_json(answer)
        return status
    say = ui.complain if on_stderr else ui.line
    for line in verdict.lines:
        say(line)
    if verdict.fix:
        say(f"fix: {verdict.fix}")
    if log:
        say("the kernel's log:")
    for line in log:
        say(f"  {line}")
    return status
