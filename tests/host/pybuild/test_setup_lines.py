"""Which of CPython's modules in C are built in."""

import pytest

from hostbuild.errors import InputError
from hostbuild.pybuild.setup_lines import added, chosen, local_setup, reasons, without

# Of CPython 3.11's Modules/Setup.stdlib.in, and a line as 3.13 has it
STDLIB = """\
# -*- makefile -*-
*@MODULE_BUILDTYPE@*

@MODULE_ARRAY_TRUE@array arraymodule.c
@MODULE__DECIMAL_TRUE@_decimal _decimal/_decimal.c
@MODULE__BZ2_TRUE@_bz2 _bz2module.c
@MODULE_ZLIB_TRUE@zlib zlibmodule.c
#@MODULE_READLINE_TRUE@readline readline.c
@MODULE__CODECS_CN_TRUE@_codecs_cn cjkcodecs/_codecs_cn.c
@MODULE__SOCKET_TRUE@_socket socketmodule.c
#@MODULE__CTYPES_TRUE@_ctypes _ctypes/_ctypes.c
@MODULE__SSL_TRUE@_ssl _ssl.c
@MODULE__XXTESTFUZZ_TRUE@_xxtestfuzz _xxtestfuzz/_xxtestfuzz.c
@MODULE__TESTCAPI_TRUE@_testcapi _testcapimodule.c
*shared*
@MODULE_XXLIMITED_TRUE@xxlimited xxlimited.c
@MODULE__MD5_TRUE@_md5 md5module.c -I$(srcdir)/Modules/_hacl/include _hacl/Hacl_Hash_MD5.c -D_BSD_SOURCE
"""

CONFIG = """\
extern PyObject* PyInit_array(void);
extern PyObject* PyInit__socket(void);

/* -- ADDMODULE MARKER 1 -- */
struct _inittab _PyImport_Inittab[] = {

    {"array", PyInit_array},
    {"_socket", PyInit__socket},
    {"posix", PyInit_posix},

/* -- ADDMODULE MARKER 2 -- */
    {"builtins", NULL},
    {"gc", PyInit_gc},

    /* Sentinel */
    {0, 0}
};
"""


def test_what_needs_no_library_is_built_in() -> None:
    """Modules come with their sources and flags, static; those that need a library, tests and big tables do not."""
    static, _, disabled = local_setup(STDLIB).partition("*disabled*\n")
    assert static.splitlines() == [
        "*static*",
        "array arraymodule.c",
        "_decimal _decimal/_decimal.c",
        "_socket socketmodule.c",
        "_md5 md5module.c -I$(srcdir)/Modules/_hacl/include _hacl/Hacl_Hash_MD5.c -D_BSD_SOURCE",
    ]
    assert chosen(STDLIB) == ["array", "_decimal", "_socket", "_md5"]
    assert {"_bz2", "zlib", "readline", "_codecs_cn", "_ctypes"} <= set(disabled.splitlines())
    assert not {"array", "_md5"} & set(disabled.splitlines())


def test_a_source_without_the_list_is_refused() -> None:
    """A tree whose list of modules reads otherwise is no CPython that can be built."""
    with pytest.raises(InputError, match="names no modules"):
        local_setup("array arraymodule.c\n")


def test_modules_are_left_out_of_the_table() -> None:
    """Only the rows that are named go; what the interpreter cannot start without, and the end, stay."""
    left = without(CONFIG, ["array", "not_there", "builtin"])
    assert '{"array", PyInit_array}' not in left
    assert left.count("\n") == CONFIG.count("\n") - 1
    for row in ('{"_socket", PyInit__socket},', '{"builtins", NULL},', "{0, 0}"):
        assert row in left


def test_a_module_is_added_to_the_table() -> None:
    """It is declared and listed, once each; the other rows stay. A table without its marks is refused."""
    more = added(CONFIG, "_ctypes")
    assert more.count("extern PyObject* PyInit__ctypes(void);\n") == 1
    table = more[more.index("_PyImport_Inittab") : more.index("{0, 0}")]
    assert table.count('    {"_ctypes", PyInit__ctypes},\n') == 1
    assert without(more, ["_ctypes"]).count("_ctypes") == 1  # its declaration harms nobody
    assert set(CONFIG.splitlines()) <= set(more.splitlines())
    with pytest.raises(InputError, match="no marks"):
        added(CONFIG.replace("MARKER 2", "MARK 2"), "_ctypes")


def test_why_a_module_is_not_there() -> None:
    """Those that need a library say which; others have no reason."""
    assert reasons(["_ssl", "array", "_sqlite3"]) == {
        "_ssl": "_ssl needs OpenSSL",
        "_sqlite3": "_sqlite3 needs SQLite",
    }
