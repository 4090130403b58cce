"""Modules as an image carries them with --strip: formats/modules/module_strip.py, for values of this package."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from hostbuild.formats.modules.module_strip import strip_module
from hostbuild.image.modules.module import Module


@dataclass(frozen=True, slots=True)
class Cut:
    """What was cut out of an image's modules. modules: of how many. bytes: how much, unpacked.

    taints: whether the kernel looks at signatures, and is tainted by a module without; None where nobody knows.
    """

    modules: int
    bytes: int
    taints: bool | None


def strip_all(modules: Iterable[Module], taints: bool | None) -> tuple[list[Module], Cut]:
    """Give modules without what they can do without, and what that was."""
    before = list(modules)
    after = list(map(stripped, before))
    sizes = [old.size - new.size for old, new in zip(before, after, strict=True)]
    return after, Cut(len(list(filter(None, sizes))), sum(sizes), taints)


def stripped(module: Module) -> Module:
    """Give a module without signature, BTF and debug sections; itself where it has none of them."""
    data = module.read()
    content = strip_module(data)
    return module if len(content) == len(data) else replace(module, content=content, size=len(content))
