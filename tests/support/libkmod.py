"""libkmod.so.2 through ctypes: the oracle for which modules a modalias wants.

kmod_new() gets a modules directory and an empty configuration, so that nothing of the machine it runs on
counts. libkmod matches with fnmatch(3), which depends on the locale; modprobe never calls setlocale(3) and
so runs in the C locale, and here the C locale is set as well.
"""

import ctypes
import errno
import locale
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LIBRARY = "libkmod.so.2"
ALIAS_FILES = ("modules.alias.bin", "modules.builtin.alias.bin")
OTHER_FILES = ("modules.dep.bin", "modules.symbols.bin", "modules.builtin.bin")
EMPTY_INDEX = bytes.fromhex("b007f457 00020001 00000000")  # magic, version 2.1, no root


class KmodError(Exception):
    """libkmod answered with an error number."""

    def __init__(self, number: int) -> None:
        super().__init__(os.strerror(number))
        self.errno = number


def _load() -> ctypes.CDLL:
    library = ctypes.CDLL(LIBRARY)
    pointer, text = ctypes.c_void_p, ctypes.c_char_p
    for name, result, arguments in (
        ("kmod_new", pointer, (text, ctypes.POINTER(text))),
        ("kmod_unref", pointer, (pointer,)),
        ("kmod_load_resources", ctypes.c_int, (pointer,)),
        ("kmod_set_log_priority", None, (pointer, ctypes.c_int)),
        ("kmod_module_new_from_lookup", ctypes.c_int, (pointer, text, ctypes.POINTER(pointer))),
        ("kmod_module_get_module", pointer, (pointer,)),
        ("kmod_module_get_name", text, (pointer,)),
        ("kmod_module_unref", pointer, (pointer,)),
        ("kmod_module_unref_list", ctypes.c_int, (pointer,)),
        ("kmod_list_next", pointer, (pointer, pointer)),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class Kmod:
    """A libkmod context on one modules directory."""

    def __init__(self, modules_dir: Path) -> None:
        locale.setlocale(locale.LC_ALL, "C")
        self._library = _load()
        no_configuration = (ctypes.c_char_p * 1)(None)
        self._context = self._library.kmod_new(os.fsencode(modules_dir), no_configuration)
        if not self._context:
            raise OSError(f"kmod_new({modules_dir}) failed")
        self._library.kmod_set_log_priority(self._context, 0)
        self._library.kmod_load_resources(self._context)

    def close(self) -> None:
        """Release the context; the object cannot be used any more."""
        self._library.kmod_unref(self._context)
        self._context = None

    def lookup(self, modalias: bytes) -> list[str]:
        """The modules in libkmod's order, repetitions included. Raises KmodError."""
        library = self._library
        found = ctypes.c_void_p()
        status = library.kmod_module_new_from_lookup(self._context, modalias, ctypes.byref(found))
        if status < 0:
            raise KmodError(-status)
        if not found.value:
            return []
        names = []
        head = found.value
        entry = head
        while entry:
            module = library.kmod_module_get_module(entry)
            names.append(library.kmod_module_get_name(module).decode())
            library.kmod_module_unref(module)
            entry = library.kmod_list_next(head, entry)
        library.kmod_module_unref_list(head)
        return names

    def answer(self, modalias: bytes) -> list[str]:
        """The modules, each once; none where libkmod calls the string invalid."""
        try:
            return list(dict.fromkeys(self.lookup(modalias)))
        except KmodError as error:
            if error.errno != errno.EINVAL:
                raise
            return []


@contextmanager
def kmod(modules_dir: Path) -> Iterator[Kmod]:
    """A context that is released at the end of the block."""
    context = Kmod(modules_dir)
    try:
        yield context
    finally:
        context.close()


def aliases_only(modules_dir: Path, into: Path) -> Path:
    """A modules directory in which only the two alias indexes are not empty: other stages find nothing.

    They are there because libkmod maps all of its indexes or none.
    """
    into.mkdir(parents=True, exist_ok=True)
    for name in OTHER_FILES:
        (into / name).write_bytes(EMPTY_INDEX)
    for name in ALIAS_FILES:
        (into / name).symlink_to((modules_dir / name).resolve())
    return into
