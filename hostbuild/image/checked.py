"""What `hostbuild check` would say of an image that is about to be packed, as far as it does not follow from how it
was made: what overlays bring, programs, the configuration, signatures.
"""

from collections.abc import Container

from hostbuild.check.finding import Level
from hostbuild.check.read import view_files
from hostbuild.check.rules import ALL, BUILT, check
from hostbuild.check.view import KernelFacts
from hostbuild.errors import InputError
from hostbuild.formats.kconfig import parse_config
from hostbuild.formats.modules.signed_only import why_signed_only
from hostbuild.image.layers import Layers
from hostbuild.kernels.kernel import Kernel


def check_tree(
    layers: Layers,
    kernel: Kernel,
    config: str | None,
    append: str,
    known: Container[str] = (),
    *,
    foreign: bool = False,
) -> list[str]:
    """Give warnings about what will not work. Raises InputError for an image that would not boot.

    config: the kernel's configuration, None where it is not known. append: words that the kernel will be given.
    known: warnings that were given before. foreign: others have written over what was made, so that nothing follows
    from how it was.
    """
    facts = KernelFacts(kernel.version, config=parse_config(config) if config is not None else None)
    forced = bool(why_signed_only(facts.config, append))
    view = view_files(
        layers.root, layers.read, facts, append, release=kernel.version, with_modules=forced or foreign
    )
    findings = check(view, ALL if foreign else BUILT)
    stopping = [one for one in findings if one.level is Level.FATAL]
    if stopping:
        first = stopping[0]
        more = f" (and {len(stopping) - 1} more findings)" if len(stopping) > 1 else ""
        raise InputError(f"the image would not boot: {first.place}: {first.reason}{more}", hint=first.fix)
    errors = {f"{one.place}: {one.reason}": one.fix for one in findings if one.level is Level.ERROR}
    return [f"{what}; fix: {fix}" for what, fix in errors.items() if what not in known]
