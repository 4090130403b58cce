"""What a named selection speaks of and a kernel has not, neither as a module nor inside.

A pattern that fits nothing says nothing: it stands for whatever there is.
"""

import re

from hostbuild.fs import answers
from hostbuild.image.modules.named_selections import NAMED, named_selection
from hostbuild.kernels import alias_index
from hostbuild.kernels.kernel import Kernel
from hostbuild.kernels.kernel_modules import read_list
from modaliasd.core.kmod.modules_dep import parse_builtin, parse_modules_dep
from modaliasd.core.kmod.names import module_name, text_of


def lacking(selection: str, kernel: Kernel) -> list[str]:
    """Give the modules, by name and sorted, that the named selections in a selection are meant to have."""
    if kernel.indexes is None:
        return []
    words = set(re.split(r"[,\s]+", selection))
    wanted = {
        module_name(one)
        for word in words & NAMED.keys()
        for one in named_selection(word, kernel.arch)
        if not one.startswith("-") and not set(one) & set("*?[/")
    }
    if not wanted:
        return []
    dep, builtin = (read_list(kernel.indexes, name) for name in ("modules.dep", "modules.builtin"))

    def made() -> list[str]:
        there = set(parse_modules_dep(text_of(dep))[0]) | parse_builtin(text_of(builtin))[0]
        return sorted(wanted - there)

    code = answers.code_of(__file__) + alias_index.code()
    return answers.values(code, [sorted(wanted), answers.digest(dep), answers.digest(builtin)], made)
