"""Rules for the modules themselves: whether modprobe can read each, and the kernel take it.

Source: kernel/module/main.c (load_module, check_modinfo, simplify_symbols), version.c, signing.c.
"""

from collections.abc import Iterable, Iterator, Mapping

from hostbuild.check.finding import Finding, error, note
from hostbuild.check.view import KernelFacts, ModuleTree, ModuleView, View
from hostbuild.formats.elf_symbols import Linkage, machine_name
from hostbuild.formats.modules.signed_only import looks_at_signatures, why_signed_only
from hostbuild.formats.modules.vermagic import Fit, judge, release_of
from hostbuild.near import listed
from modaliasd.core.kmod.invocation import Flavour
from modaliasd.core.kmod.modules_dep import parse_builtin, parse_modules_dep
from modaliasd.core.kmod.names import module_name, text_of

_SHOWN = 3
_REBUILD = "build it against this kernel"


def check_modules(view: View) -> Iterator[Finding]:
    """Check each module that the booted kernel may be asked to load."""
    tree = view.tree
    if tree is None:
        yield from _no_tree(view)
        return
    for module in tree.modules:
        if module.trouble:
            yield error(
                "module-unreadable", f"/{module.path}", module.trouble, "take it from its package again"
            )
            continue
        yield from _file(view, module)
        yield from _magic(view, module, tree.release)
    yield from _dependencies(tree)
    yield from check_symbols(tree, view.kernel)


def check_signatures(view: View) -> Iterator[Finding]:
    """Check that modules are signed where the kernel takes no others, or is tainted by them; not by whose key."""
    config = view.kernel.config if view.kernel is not None else None
    forced = why_signed_only(config, view.append)
    tree = view.tree
    unsigned = [] if tree is None else [one for one in tree.modules if not one.signed and not one.trouble]
    for module in unsigned if forced else ():
        yield error(
            "module-unsigned",
            f"/{module.path}",
            f"it has no signature, which the kernel demands ({forced})",
            "sign it by the kernel's scripts/sign-file, leave that off, or make the image without --strip",
        )
    if tree is not None and unsigned and not forced and looks_at_signatures(config):
        yield note(
            "modules-taint",
            f"/{tree.path}",
            f"{len(unsigned)} of {len(tree.modules)} modules have no signature: the kernel is tainted (E) by the first "
            'of them that it loads, and says so ("module verification failed"); with Secure Boot it may refuse them',
            "make the image without --strip, or sign them",
        )


def _no_tree(view: View) -> Iterator[Finding]:
    others = sorted(release for release, tree in view.trees.items() if tree.modules)
    if others and view.release:
        yield error(
            "modules-for-another-kernel",
            "/lib/modules",
            f"the modules are for {listed(others)}, the kernel is {view.release}: none can be loaded",
            "hostbuild make-image --kernel KERNEL",
        )
    elif len(others) > 1:
        yield note(
            "kernel-unknown",
            "/lib/modules",
            f"there are modules for {listed(others)}, and none was looked at",
            "--kernel KERNEL",
        )


def _file(view: View, module: ModuleView) -> Iterator[Finding]:
    if module.ending and view.modprobe is not None and module.ending not in view.unpacks:
        whose = "busybox's modprobe" if view.modprobe is Flavour.BUSYBOX else "the image's kmod"
        yield error(
            "module-compressed",
            f"/{module.path}",
            f"{whose} does not unpack {module.ending}, so it cannot be loaded",
            "hostbuild make-image --modprobe kmod, or --compress-modules none",
        )
    kernel = view.kernel
    machine = module.linkage.machine if module.linkage is not None else 0
    if kernel is not None and kernel.machine and machine and machine != kernel.machine:
        yield error(
            "module-machine",
            f"/{module.path}",
            f"it is for {machine_name(machine)}, the kernel for {machine_name(kernel.machine)}",
            "take the module of the kernel's own package",
        )


def _magic(view: View, module: ModuleView, release: str) -> Iterator[Finding]:
    magic = next(iter(module.values("vermagic")), "")
    kernel = view.kernel
    place = f"/{module.path}"
    if not magic:
        if kernel is not None and kernel.option("MODULE_FORCE_LOAD") == "n":
            yield error(
                "vermagic-missing",
                place,
                "it has no version magic, and the kernel takes none without (CONFIG_MODULE_FORCE_LOAD is off)",
                _REBUILD,
            )
        else:
            yield note(
                "vermagic-missing",
                place,
                "it has no version magic: kernels without CONFIG_MODULE_FORCE_LOAD refuse it, others are tainted",
                _REBUILD,
            )
        return
    fit = judge(magic, release, kernel.vermagic if kernel is not None else "")
    if fit is Fit.NONE:
        other = f" ({kernel.vermagic.strip()})" if kernel is not None and kernel.vermagic else ""
        yield error(
            "vermagic",
            place,
            f"it was built for {magic.strip()!r}, and the kernel is {release}{other}: it cannot be loaded",
            _REBUILD,
        )
    elif fit is Fit.PERHAPS:
        yield note(
            "vermagic-release",
            place,
            f"it was built for {release_of(magic)}, and may be loaded if the symbols' checksums agree",
            _REBUILD,
        )


def _dependencies(tree: ModuleTree) -> Iterator[Finding]:
    """Check what modules name themselves (`depends=`), whatever modules.dep says."""
    builtin, _ = parse_builtin(text_of(tree.tables.get("modules.builtin", b"")))
    carried = {module.name for module in tree.modules}
    for module in tree.modules:
        needs = [module_name(name) for value in module.values("depends") for name in value.split(",") if name]
        gone = [name for name in needs if name not in carried and name not in builtin]
        if gone:
            yield error(
                "depends",
                f"/{module.path}",
                f"it needs {listed(gone)}, which the image lacks",
                "add the modules that it needs",
            )


def check_symbols(tree: ModuleTree, kernel: KernelFacts | None) -> Iterator[Finding]:
    """Hold what each module takes against what the kernel, and the modules that are loaded before it, give."""
    linked = {one.name: one for one in tree.modules if one.linkage is not None}
    symbols = _Symbols(tree, linked, kernel.exports if kernel is not None else None)
    for name, one in linked.items():
        unknown, wrong = symbols.judge(name)
        if unknown:
            yield error(
                "symbol-unknown",
                f"/{one.path}",
                f"neither the kernel nor a module exports what it uses: {_some(unknown)}",
                "add the module that exports it, or build this one against this kernel",
            )
        if wrong:
            yield error(
                "symbol-version",
                f"/{one.path}",
                f"it was built with other checksums of {_some(wrong)}: the kernel refuses it "
                "(disagrees about version of symbol)",
                _REBUILD,
            )


class _Symbols:
    """Who gives which symbol, with which checksum."""

    def __init__(
        self, tree: ModuleTree, linked: Mapping[str, ModuleView], exports: Mapping[str, int | None] | None
    ) -> None:
        lines, _ = parse_modules_dep(text_of(tree.tables.get("modules.dep", b"")))
        self._needs = {name: file.needs for name, file in lines.items()}
        self._links = {name: one.linkage for name, one in linked.items() if one.linkage is not None}
        self._givers: dict[str, str] = {}
        for name, link in self._links.items():
            for symbol in link.gives:
                self._givers.setdefault(symbol, name)
        self._exports = exports
        self._usual = _usual(self._links.values(), self._givers) if exports is None else {}

    def judge(self, name: str) -> tuple[list[str], list[str]]:
        """Say what a module takes that nobody gives, and of what it has another checksum."""
        link = self._links[name]
        unknown: list[str] = []
        wrong: list[str] = []
        for symbol in sorted(link.takes):
            why, given = self._given(name, symbol)
            built = link.versions.get(symbol)
            if why and symbol not in link.weak:
                unknown.append(why)
            elif given is not None and built is not None and given != built:
                wrong.append(f"{symbol} (0x{built:08x}, not 0x{given:08x})")
        return unknown, wrong

    def _given(self, name: str, symbol: str) -> tuple[str, int | None]:
        """Say why a module does not get a symbol, "" if it does; and the symbol's checksum, if that is known."""
        if self._exports is not None and symbol in self._exports:
            return "", self._exports[symbol]
        giver = self._givers.get(symbol, "")
        if giver and giver in self._needs.get(name, ()):
            return "", self._links[giver].gives[symbol]
        if giver and giver != name:
            return f"{symbol} (of {giver}, which modules.dep does not name for it)", None
        if self._exports is None:
            return "", self._usual.get(symbol)
        return symbol, None


def _usual(links: Iterable[Linkage], givers: Mapping[str, str]) -> dict[str, int]:
    """Where the kernel's checksums do not show: those by which most modules were built, if there is such a most."""
    votes: dict[str, dict[int, int]] = {}
    for link in links:
        for symbol, crc in link.versions.items():
            if symbol not in givers:
                row = votes.setdefault(symbol, {})
                row[crc] = row.get(crc, 0) + 1
    found = {}
    for symbol, row in votes.items():
        best, *others = sorted(row.items(), key=lambda item: (-item[1], item[0]))
        if others and best[1] > 2 * others[0][1]:
            found[symbol] = best[0]
    return found


def _some(items: list[str]) -> str:
    more = len(items) - _SHOWN
    return ", ".join(items[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
