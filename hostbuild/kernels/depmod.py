"""Indexes of kernel modules: depmod run on plain copies, the endings of compressed ones put in afterwards.

depmod skips what it cannot read (.ko.gz, where kmod was built without zlib) and ends with status 0; so it is given
plain files only, and every one of them has to have its line in modules.dep. It is run with a configuration of our
own: that of this host, with its `external` directories, says nothing about a target.

modules.weakdep is made here: depmod writes it since kmod 33 only, and not the lines that the tree had before.
"""

import io
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from hostbuild.errors import WorldError
from hostbuild.formats import elf
from hostbuild.formats.modules import kmodindex
from hostbuild.formats.modules.modfile import plain_path
from hostbuild.run import run
from modaliasd.core.kmod.names import module_name, text_of
from modaliasd.core.kmod.tables import parse_weakdeps

DEP, DEP_BIN, WEAKDEP, ORDER = "modules.dep", "modules.dep.bin", "modules.weakdep", "modules.order"
LISTS = ("modules.builtin", "modules.builtin.modinfo", ORDER)  # the kernel's build's own, which depmod reads

# Which of two modules of one name counts; as Fedora and its relatives have it, which agrees with depmod's default.
_CONFIGURATION = "search updates extra external built-in weak-updates\n"
_TIMEOUT = 300.0
MOST_MODULES = 65_534  # depmod numbers them by 16 bits, and aborts at one more (tools/depmod.c)


def index_modules(
    root: Path,
    version: str,
    files: Iterable[tuple[str, bytes | Path]],
    *,
    lists: Mapping[str, bytes],
    weakdep: str = "",
    endings: Mapping[str, str],
    linked: bool = True,
) -> list[str]:
    """Lay modules out below root/lib/modules/VERSION and index them; give the names of those that got no line.

    files: path in the tree -> content, or a plain file. linked: such a file is linked to, not copied. endings: path in
    the tree -> ".xz" or the like, for what will be compressed. lists: the files of LISTS, by name. weakdep: the text of
    a modules.weakdep, whose lines count for those of these modules that name none in .modinfo.
    """
    base = root / "lib/modules" / version
    base.mkdir(parents=True)
    for name in LISTS:
        data = lists.get(name, b"")
        (base / name).write_bytes(_plain_lines(data) if name == ORDER else data)
    names: set[str] = set()
    weak: list[str] = []
    for path, content in files:
        if len(names) == MOST_MODULES:
            raise WorldError(
                f"there are more than {MOST_MODULES:,} modules for {version}, and depmod takes no more",
                hint="name fewer by --modules-dir, or build without by --modules none",
            )
        target = base / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            target.write_bytes(content)
        elif linked:
            target.symlink_to(content.absolute())
        else:
            shutil.copyfile(content, target)
        names.add(module_name(path))
        weak += _weakdep_line(module_name(path), content)
    configuration = root / "depmod.conf"
    configuration.write_text(_CONFIGURATION)
    run(["depmod", "-C", configuration, "-b", root, version], timeout=_TIMEOUT)
    configuration.unlink()
    if not (base / DEP).is_file():
        raise WorldError(f"depmod wrote no modules.dep for {version} in {root}")
    told = {line.split()[1] for line in weak}
    weak += [
        f"weakdep {one.module} {' '.join(one.wanted)}\n"
        for one in parse_weakdeps(weakdep)[0]
        if one.module in names - told
    ]
    (base / WEAKDEP).write_bytes(_bytes("".join(sorted(weak))))
    dep = text_of((base / DEP).read_bytes())
    if endings:
        dep = with_endings(dep, endings)
        (base / DEP).write_bytes(_bytes(dep))
        lines = {module_name(line.partition(":")[0]): line for line in dep.splitlines()}
        (base / DEP_BIN).write_bytes(kmodindex.build(lines))
    return sorted(names - {module_name(line.partition(":")[0]) for line in dep.splitlines()})


def with_endings(dep: str, endings: Mapping[str, str]) -> str:
    """Give a modules.dep in which compressed modules have their endings. endings: path -> ".xz" or the like."""
    lines = []
    for line in dep.splitlines():
        path, _, needs = line.partition(":")
        there = "".join(f" {need}{endings.get(need, '')}" for need in needs.split())
        lines.append(f"{path}{endings.get(path, '')}:{there}\n")
    return "".join(lines)


def weakdeps_of(data: bytes) -> tuple[str, ...]:
    """Give the names in a module's MODULE_WEAKDEP, which .modinfo has since Linux 6.11."""
    if b"weakdep=" not in data:  # most have none, and finding the section takes milliseconds
        return ()
    try:
        fields = elf.modinfo(io.BytesIO(data))
    except elf.ElfError:
        return ()  # depmod says so, and gives it no line
    return tuple(word for value in fields.get("weakdep", ()) for word in value.split())


def _weakdep_line(name: str, content: bytes | Path) -> list[str]:
    words = weakdeps_of(content if isinstance(content, bytes) else content.read_bytes())
    return [f"weakdep {name} {' '.join(words)}\n"] if words else []


def _plain_lines(order: bytes) -> bytes:
    """Give a modules.order without compressors' endings, as depmod looks modules up in it."""
    return b"".join(_bytes(plain_path(text_of(line))) + b"\n" for line in order.splitlines() if line.strip())


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
