"""Which of the modules that were asked for an image carries: each is judged by itself.

A module that cannot be read, or that the kernel cannot take for sure (its version magic, vermagic.py), is left out with
a warning, and so is what needs it. If the caller named it, or an overlay brings it, that is an error. A module that
was built for another release, but may be taken, is carried and told of.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from hostbuild.errors import InputError
from hostbuild.formats.modules.vermagic import Fit, judge, release_of
from hostbuild.image.modules.module import Module, facts_of, load
from hostbuild.image.modules.selection import Index
from hostbuild.kernels.kernel import Kernel, KernelError
from hostbuild.kernels.module_files import printable


@dataclass(frozen=True, slots=True)
class Carried:
    """The modules of an image, sorted by name, and what is to be said about those that were asked for."""

    modules: tuple[Module, ...]
    warnings: tuple[str, ...]


def carry(
    names: Iterable[str],
    required: Collection[str],
    index: Index,
    kernel: Kernel,
    overlaid: Mapping[str, Module],
    read: Callable[[str], Module],
) -> Carried:
    """Judge modules, which `read` gives.

    Raises InputError for one of `required`, or an overlay's, that cannot be loaded.
    """
    found: dict[str, Module] = {}
    bad: dict[str, str] = {}
    for name in names:
        try:
            found[name] = read(name)
        except InputError as e:
            bad[name] = str(e)
    warnings: list[str] = []
    for name, (fit, why) in _judged(found.values(), kernel.version, kernel.vermagic).items():
        if fit is Fit.NONE:
            bad[name] = why
        else:
            warnings.append(why)
    _spread(bad, found, index)
    for name in sorted(bad):
        if name in required or name in overlaid:
            place = "the overlay" if name in overlaid else f"the selection: -{name}"
            raise KernelError(bad[name], hint=f"take it out of {place}")
        warnings.append(f"left out: {bad[name]}")
    kept = [module for name, module in sorted(found.items()) if name not in bad]
    if bad and not kept:
        raise KernelError(f"no module that was asked for can be loaded; {bad[min(bad)]}")
    return Carried(tuple(kept), tuple(warnings))


def reader(
    index: Index, kernel: Kernel, overlaid: Mapping[str, Module], expected: Iterable[str] = ()
) -> Callable[[str], Module]:
    """Make what gives modules by name, an overlay's first; each is read once. It raises InputError.

    expected: the names of those that will be asked for.
    """
    known = dict(overlaid)
    facts = facts_of(expected, index, kernel.modules) if kernel.modules is not None else {}

    def read(name: str) -> Module:
        if name not in known:
            if kernel.modules is None:
                raise KernelError(f"the kernel has no module {name}")
            if name not in facts:
                facts.update(facts_of([name], index, kernel.modules))
            [known[name]] = load([name], index, kernel.modules, facts)
        return known[name]

    return read


def _judged(modules: Iterable[Module], release: str, kernels: str) -> dict[str, tuple[Fit, str]]:
    """Give verdict and reason for those of which it is not sure that the kernel takes them."""
    verdicts: dict[str, tuple[Fit, str]] = {}
    for module in modules:
        magic = module.vermagic
        fit = judge(magic, release, kernels)
        if fit is Fit.SURE:
            continue
        built = f"for kernel {printable(release_of(magic))}" if magic else "without a version magic"
        if release_of(magic) == release:
            built = f"with another configuration ({magic!r}, the kernel's is {kernels!r})"
        place = f"the module {module.path}" + (f" of the {module.origin}" if module.origin else "")
        verdicts[module.name] = (fit, f"{place} was built {built}, the kernel is {release}: it {fit.value}")
    return verdicts


def _spread(bad: dict[str, str], found: Mapping[str, Module], index: Index) -> None:
    """Add to the bad what needs one of them."""
    grown = True
    while grown:
        grown = False
        for name in found:
            need = next((need for need in index.depends.get(name, ()) if need in bad), None)
            if name not in bad and need is not None:
                bad[name] = f"{name} needs {need}; {bad[need]}"
                grown = True
