"""A kernel's Kconfig as something that can be asked and told: which options exist, what they need, what stops
them.

`KernelOptions.grant` makes a wish come true where it can be: it turns on what the option depends on, and finds a
selector for an option that has no prompt. Of alternatives the one with the fewest new options is taken.
Parsing and evaluating are kconfiglib's; `make olddefconfig` has the last word, and hostbuild.kbuild.configure
compares.
"""

import contextlib
import io
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

import kconfiglib
from kconfiglib import AND, EQUAL, NOT, OR, UNEQUAL, Symbol

from hostbuild.arch import Arch
from hostbuild.errors import InputError
from hostbuild.formats.kconfig import Wish
from hostbuild.fs.scratch import scratch_directory
from hostbuild.kbuild.toolchain import tool
from hostbuild.near import near

_N, _M, _Y = 0, 1, 2
_LEVEL = {"n": _N, "m": _M, "y": _Y}

# Deeper chains of dependencies than this do not occur among options that one can have; without a limit the
# search would try every way through the thousands of options that select one another.
_DEPTH = 8

# Options without a prompt that many others select: whom a person means who needs one of them.
_PROVIDERS = {
    "VIRTIO": "VIRTIO_PCI",  # QEMU's virtio devices are PCI devices unless the machine is microvm
    "SND_HDA": "SND_HDA_INTEL",  # the PCI controller; the others are of ARM boards
}

# Options that make others visible and promise nothing: a driver of another architecture's hardware can be had
# by COMPILE_TEST, and is of no use. Only who names them gets them.
_NO_MEANS = frozenset({"BROKEN", "COMPILE_TEST"})

Plan = dict[Symbol, int]


class KernelOptions:
    """The options of one source tree, with values."""

    def __init__(self, tree: kconfiglib.Kconfig) -> None:
        self._tree = tree
        self._needed: dict[str, str] = {}  # what was set to grant a wish -> that wish's option

    def known(self, option: str) -> bool:
        """Return whether the source defines such an option (for this architecture or another)."""
        symbol = self._tree.syms.get(option)
        return symbol is not None and bool(symbol.nodes)

    def value(self, option: str) -> str:
        """Return the option's present value as a .config has it: n for one that does not exist."""
        symbol = self._tree.syms.get(option)
        return symbol.str_value if symbol is not None and symbol.nodes else "n"

    def similar(self, option: str) -> list[str]:
        """Names of options that look like this one, the likeliest first."""
        names = [symbol.name for symbol in self._tree.unique_defined_syms]
        return near(option, names)

    def write(self, path: Path) -> None:
        """Write all values as a .config."""
        self._tree.write_config(str(path), save_old=False)

    def grant(self, wish: Wish) -> None:
        """Set the wish, and what it needs; where that cannot be, `unmet` says why."""
        symbol = self._tree.syms.get(wish.option)
        if symbol is None or not symbol.nodes:
            return
        level = _LEVEL.get(wish.value)
        if symbol.orig_type not in (kconfiglib.BOOL, kconfiglib.TRISTATE) or level is None:
            self._apply(symbol, _first(_plan(node.prompt[1], _M, 1) for node in symbol.nodes if node.prompt))
            symbol.set_value(wish.value.strip('"'))
            return
        if level > _N:
            self._apply(symbol, _plan_symbol(symbol, level, 0))
        symbol.set_value(level)

    def unmet(self, option: str, value: str) -> str:
        """Say what keeps the option from having this value: its failing dependencies, or who selects it."""
        symbol = self._tree.syms.get(option)
        if symbol is None or not symbol.nodes:
            similar = ", ".join(self.similar(option))
            return "this source has no such option" + (f" (it has {similar})" if similar else "")
        level = _LEVEL.get(value, _M)
        if level == _N:
            selectors = [
                kconfiglib.expr_str(term)
                for term in kconfiglib.split_expr(symbol.rev_dep, OR)
                if kconfiglib.expr_value(term) > _N
            ]
            return f"selected by {', '.join(selectors)}" if selectors else "Kconfig does not allow n"
        conditions = [node.prompt[1] for node in symbol.nodes if node.prompt]
        if not conditions and kconfiglib.expr_value(symbol.direct_dep) >= level:
            return "it has no prompt, and nothing that selects it could be turned on"
        reasons = _failing(conditions[0] if conditions else symbol.direct_dep, level)
        return "needs " + ", ".join(reasons) if reasons else f"Kconfig gives it {symbol.str_value}"

    def needed_for(self, option: str) -> str:
        """Return the wish for which this option was turned on, "" if it was not."""
        return self._needed.get(option, "")

    def _apply(self, wanted: Symbol, plan: Plan | None) -> None:
        for symbol, level in (plan or {}).items():
            symbol.set_value(level)
            if symbol is not wanted and level > _N:
                self._needed.setdefault(symbol.name, wanted.name)


def _plan(expr: object, want: int, depth: int) -> Plan | None:
    """Return the settings that raise an expression to `want`; {} if it is there already, None if there is no way."""
    if kconfiglib.expr_value(expr) >= want:
        return {}
    if isinstance(expr, Symbol):
        return _plan_symbol(expr, want, depth)
    if not isinstance(expr, tuple):
        return None  # a choice: it has no value of its own to set
    operator = expr[0]
    if operator is AND:
        left, right = _plan(expr[1], want, depth), _plan(expr[2], want, depth)
        return None if left is None or right is None else left | right
    if operator is OR:
        return _cheapest(_plan(term, want, depth) for term in kconfiglib.split_expr(expr, OR))
    if operator is NOT:
        return _plan_off(expr[1])
    return _plan_relation(expr, depth)


def _plan_relation(expr: tuple[object, ...], depth: int) -> Plan | None:
    """Return settings for `X = y` and the like, as `depends on X=y || X=Y` writes them."""
    operator, left, right = expr
    if not isinstance(left, Symbol) or not isinstance(right, Symbol) or right.name not in _LEVEL:
        return None
    level = _LEVEL[right.name]
    if operator is EQUAL:
        return _plan_off(left) if level == _N else _plan_symbol(left, level, depth)
    if operator is UNEQUAL and level == _N:
        return _plan_symbol(left, _M, depth)
    return None


def _plan_off(operand: object) -> Plan | None:
    """Return settings that turn a single option off; None if another selects it or it cannot be set."""
    if isinstance(operand, Symbol) and _N in operand.assignable:
        return {operand: _N}
    return None


def _plan_symbol(symbol: Symbol, want: int, depth: int) -> Plan | None:
    if symbol.tri_value >= want:
        return {}
    if depth >= _DEPTH or symbol.is_constant or not symbol.nodes:
        return None
    if depth > 0 and symbol.name in _NO_MEANS:
        return None
    if symbol.orig_type not in (kconfiglib.BOOL, kconfiglib.TRISTATE):
        return None
    depth += 1
    level = want if symbol.orig_type is kconfiglib.TRISTATE else _Y
    prompts = [node.prompt[1] for node in symbol.nodes if node.prompt]
    if prompts:
        # A bool is visible at m already, but may be y only if its dependencies are not n.
        least = level if symbol.orig_type is kconfiglib.TRISTATE else _M
        plan = _cheapest(_plan(condition, least, depth) for condition in prompts)
        return None if plan is None else plan | {symbol: level}
    defaults = _cheapest(_plan((AND, value, condition), want, depth) for value, condition in symbol.defaults)
    if defaults is not None:
        return defaults
    provider = _PROVIDERS.get(symbol.name)
    terms = kconfiglib.split_expr(symbol.rev_dep, OR)
    if provider:
        terms = [term for term in terms if provider in kconfiglib.expr_str(term).split()]
    return _cheapest(_plan(term, want, depth) for term in terms)


def _cheapest(plans: Iterator[Plan | None]) -> Plan | None:
    """Of the plans that exist, the one with the fewest settings; of equals the one with more modules."""
    found = [plan for plan in plans if plan is not None]
    return min(found, key=lambda plan: (len(plan), sum(plan.values())), default=None)


def _first(plans: Iterator[Plan | None]) -> Plan | None:
    return next((plan for plan in plans if plan is not None), None)


def _failing(expr: object, want: int) -> list[str]:
    """Return the terms of a conjunction that stop it, each followed down to what fails first.

    Of terms below `want` those stop it which nothing can raise; the others are off just because of them.
    """
    reasons: list[str] = []
    below = [term for term in kconfiglib.split_expr(expr, AND) if kconfiglib.expr_value(term) < want]
    for term in [term for term in below if _plan(term, want, 1) is None] or below:
        if not isinstance(term, Symbol):
            reasons.append(kconfiglib.expr_str(term, _shown))
            continue
        deeper = _failing(term.direct_dep, want) if term.nodes else []
        reasons.append(f"{_shown(term)}, which needs {' and '.join(deeper)}" if deeper else _shown(term))
    return reasons


def _shown(item: object) -> str:
    """Return an option with its present value, as a reason shows it; constants and choices as Kconfig writes them."""
    if not isinstance(item, Symbol) or item.is_constant:
        return str(kconfiglib.standard_sc_expr_str(item))
    return f"{item.name} (is {item.str_value})" if item.nodes else f"{item.name} (does not exist here)"


def load_options(tree: Path, *, arch: Arch, version: str, compiler: str, config: Path) -> KernelOptions:
    """Parse the Kconfig files of a source tree and read a .config into them; takes some three seconds.

    version: the tree's KERNELVERSION. compiler: the first line of `gcc --version`.
    Raises InputError where kconfiglib cannot parse the tree.
    """
    environment = _environment(tree, arch, version, compiler)
    with scratch_directory() as scratch, _process_state(environment, scratch):
        try:
            parsed = _Kconfig(str(tree / "Kconfig"), warn=False)
            parsed.load_config(str(config))
        except (kconfiglib.KconfigError, OSError) as e:
            raise InputError(f"cannot read the options of {tree}: {e}") from e
    return KernelOptions(parsed)


class _Kconfig(kconfiglib.Kconfig):  # type: ignore[misc]  # it has no types
    """kconfiglib's last release knows `option modules`; since Linux 5.16 it is a bare `modules`."""

    def _open(self, filename: str, mode: str) -> IO[str]:
        file: IO[str] = super()._open(filename, mode)
        if "w" in mode:
            return file
        with file:
            return io.StringIO(re.sub(r"(?m)^(\s+)modules$", r"\1option modules", file.read()))


def _environment(tree: Path, arch: Arch, version: str, compiler: str) -> dict[str, str]:
    """Return what the kernel's top Makefile exports for Kconfig files to refer to."""
    return {
        "srctree": str(tree),
        "ARCH": arch.facts.kbuild,
        "SRCARCH": arch.facts.kbuild,
        "KERNELVERSION": version,
        "CC_VERSION_TEXT": compiler,
        **{name.upper(): tool(arch, name) for name in ("ld", "ar", "nm", "objcopy")},
        "CC": tool(arch, "gcc"),
        "HOSTCC": "gcc",
        "RUSTC": "rustc",
        "BINDGEN": "bindgen",
        "PAHOLE": "pahole",
        "CLANG_FLAGS": "",
    }


@contextlib.contextmanager
def _process_state(environment: Mapping[str, str], directory: Path) -> Iterator[None]:
    """Lend kconfiglib the environment it reads, and a directory for the compiler tests' scratch files."""
    before = dict(os.environ)
    os.environ.update(environment)
    try:
        with contextlib.chdir(directory):
            yield
    finally:
        os.environ.clear()
        os.environ.update(before)
