"""Minimal kernel modules, and trees of them, that depmod, modinfo, modprobe and pyelftools accept.

A module is an ELF64 relocatable file with five sections: `.modinfo` (NUL-ended `key=value` strings),
`.symtab` and `.strtab` (one `__crc_` symbol for each symbol exported, one undefined symbol for each one
needed; depmod computes modules.dep from these and never reads `depends=`), and `.shstrtab`. There is no code
in it: no kernel would load it. Source: kmod's libkmod-elf.c (kmod_elf_get_symbols,
kmod_elf_get_dependency_symbols).
"""

import struct
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.programs import require_program

EM_386, EM_X86_64, EM_AARCH64 = 3, 62, 183
_SHT_PROGBITS, _SHT_SYMTAB, _SHT_STRTAB = 1, 2, 3
_SHN_UNDEF, _SHN_ABS = 0, 0xFFF1
_STB_GLOBAL = 1 << 4
_EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
_SHDR = struct.Struct("<IIQQQQIIQQ")
_SYM = struct.Struct("<IBBHQQ")


@dataclass(frozen=True, slots=True)
class FakeModule:
    """What one module file says of itself. `needs` names the modules whose symbol it uses.

    path: below lib/modules/KVER; "" puts it at kernel/NAME.ko. Every module exports `NAME_symbol`; a dash in
    the file's name is an underscore in the symbol and in `needs`.
    """

    name: str
    needs: Sequence[str] = ()
    aliases: Sequence[str] = ()
    softdeps: Sequence[str] = ()
    weakdeps: Sequence[str] = ()
    firmware: Sequence[str] = ()
    parameters: Sequence[str] = ()
    vermagic: str = "6.1.0-test SMP preempt mod_unload modversions "
    path: str = ""
    machine: int = EM_X86_64

    @property
    def symbol(self) -> str:
        """The symbol that the module exports."""
        return _symbol(self.name)

    @property
    def file(self) -> str:
        """Where the module lies below lib/modules/KVER."""
        return self.path or f"kernel/{self.name}.ko"


def module_bytes(module: FakeModule) -> bytes:
    """The module as an ELF file."""
    normal = module.name.replace("-", "_")
    info = [("license", "GPL"), ("name", normal), ("vermagic", module.vermagic)]
    info += [("depends", ",".join(need.replace("-", "_") for need in module.needs))]
    info += [("alias", alias) for alias in module.aliases]
    info += [("softdep", softdep) for softdep in module.softdeps]
    info += [("weakdep", weakdep) for weakdep in module.weakdeps]
    info += [("firmware", file) for file in module.firmware]
    info += [("parmtype", f"{parameter}:int") for parameter in module.parameters]
    modinfo = b"".join(f"{key}={value}".encode() + b"\0" for key, value in info)
    symbols = [(f"__crc_{module.symbol}", _SHN_ABS), (module.symbol, _SHN_ABS)]
    symbols += [(_symbol(need), _SHN_UNDEF) for need in module.needs]
    strtab = bytearray(b"\0")
    symtab = bytearray(_SYM.size)
    for name, section in symbols:
        symtab += _SYM.pack(len(strtab), _STB_GLOBAL, 0, section, 0x1234, 0)
        strtab += name.encode() + b"\0"
    return _elf(
        module.machine,
        [
            (".modinfo", _SHT_PROGBITS, modinfo, 0, 0),
            (".symtab", _SHT_SYMTAB, bytes(symtab), 3, _SYM.size),
            (".strtab", _SHT_STRTAB, bytes(strtab), 0, 0),
        ],
    )


def make_tree(
    root: Path, kver: str, modules: Iterable[FakeModule], builtin: Iterable[FakeModule] = ()
) -> Path:
    """Write the modules below ROOT/lib/modules/KVER, run depmod on them, and give that directory.

    The order given becomes modules.order. `builtin` modules appear in modules.builtin and
    modules.builtin.modinfo only.
    """
    folder = root / "lib" / "modules" / kver
    folder.mkdir(parents=True)
    modules = list(modules)
    for module in modules:
        file = folder / module.file
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(module_bytes(module))
    (folder / "modules.order").write_text("".join(f"{module.file}\n" for module in modules))
    builtin = list(builtin)
    (folder / "modules.builtin").write_text("".join(f"{module.file}\n" for module in builtin))
    (folder / "modules.builtin.modinfo").write_bytes(b"".join(_builtin_modinfo(module) for module in builtin))
    run_depmod(root, kver)
    return folder


def run_depmod(root: Path, kver: str) -> str:
    """Run depmod on ROOT/lib/modules/KVER and give what it said."""
    run = subprocess.run(
        [require_program("depmod"), "-b", root, kver], check=True, capture_output=True, text=True
    )
    return run.stderr


def _symbol(name: str) -> str:
    return name.replace("-", "_") + "_symbol"


def _builtin_modinfo(module: FakeModule) -> bytes:
    name = module.name.replace("-", "_")
    lines = [f"{name}.license=GPL", f"{name}.file={module.file.removesuffix('.ko')}"]
    lines += [f"{name}.alias={alias}" for alias in module.aliases]
    return b"".join(line.encode() + b"\0" for line in lines)


def _elf(machine: int, sections: list[tuple[str, int, bytes, int, int]]) -> bytes:
    """Header, contents, section table. Rows: name, type, contents, linked section's index, entry size."""
    names = bytearray(b"\0")
    rows = [_SHDR.pack(0, 0, 0, 0, 0, 0, 0, 0, 0, 0)]
    body = bytearray()
    for name, kind, contents, link, entry_size in [*sections, (".shstrtab", _SHT_STRTAB, b"", 0, 0)]:
        body += bytes(-len(body) % 8)
        name_offset = len(names)
        names += name.encode() + b"\0"
        if name == ".shstrtab":
            contents = bytes(names)
        info = 1 if kind == _SHT_SYMTAB else 0  # the first global symbol: all but the null one are global
        at = _EHDR.size + len(body)
        rows.append(_SHDR.pack(name_offset, kind, 0, 0, at, len(contents), link, info, 8, entry_size))
        body += contents
    body += bytes(-len(body) % 8)
    identity = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = _EHDR.pack(
        identity,
        1,
        machine,
        1,
        0,
        0,
        _EHDR.size + len(body),
        0,
        _EHDR.size,
        0,
        0,
        _SHDR.size,
        len(rows),
        len(rows) - 1,
    )
    return header + bytes(body) + b"".join(rows)
