"""What a module refers to, read from its relocations; a compiler and pyelftools are the oracles."""

import contextlib
import io
import re
import shutil
import subprocess

import pytest
from elftools.elf.elffile import ELFFile
from hypothesis import given, settings
from hypothesis import strategies as st

from hostbuild.formats.elf import ElfError
from hostbuild.formats.elf_references import NOTHING, references
from hostbuild.formats.modules.asks import asks_of_module
from hostbuild.kernels.kernel import Kernel
from tests.support.fuzzing import examples
from tests.support.kernelfiles import builtin_names, kernel_release, plain_module
from tests.support.komaker import FakeModule, module_bytes

FOLLOWED = re.compile("__request_module|crypto_alloc_shash|load_nls")
SOURCE = """\
extern int __request_module(int wait, const char *format, ...);
extern void *crypto_alloc_shash(const char *name, int type, int mask);
extern void *load_nls(const char *name);
extern void *load_nls_default(void);
extern int other(const char *text);
static const char *const table[] = { "ir-nec-decoder", "imon" };
int plain(void) { other("far-away"); return __request_module(1, "acpi_ipmi"); }
int family(const char *name) { return __request_module(1, "dm-%s", name); }
int from_table(int n) { return __request_module(1, "%s", table[n]); }
void *cipher(void) { return crypto_alloc_shash("hmac(sha256)", 0, 0); }
void *given(const char *name) { return crypto_alloc_shash(name, 0, 0); }
void *charset(int ascii) { return ascii ? load_nls("ascii") : load_nls_default(); }
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A relocatable file of this host's compiler, whatever its architecture."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler (make setup-kernel)")
    folder = tmp_path_factory.mktemp("c")
    (folder / "m.c").write_text(SOURCE)
    flags = ["-O2", "-fno-pic", "-fno-pie", "-ffunction-sections"]
    subprocess.run([compiler, *flags, "-c", "-o", folder / "m.ko", folder / "m.c"], check=True, timeout=60)
    return (folder / "m.ko").read_bytes()


def test_what_a_call_is_handed(compiled: bytes) -> None:
    """The strings stand beside the calls that get them; a name that comes from elsewhere is none."""
    found = references(compiled, FOLLOWED)
    assert {
        "__request_module",
        "crypto_alloc_shash",
        "load_nls",
        "load_nls_default",
        "other",
    } <= found.symbols
    assert "plain" not in found.symbols
    assert {"far-away", "ir-nec-decoder", "hmac(sha256)"} <= found.strings
    handed = {text for near in found.handed["__request_module"] for text in near}
    assert {"acpi_ipmi", "dm-%s", "%s"} <= handed
    assert ("hmac(sha256)",) in found.handed["crypto_alloc_shash"]
    assert ("ascii",) in found.handed["load_nls"]
    assert "other" not in found.handed


def test_what_a_module_asks_for(compiled: bytes) -> None:
    """Words, the parts of an algorithm, families where the name is given, and what the configuration says."""
    asks = asks_of_module("m", compiled)
    assert {"acpi_ipmi", "ir-nec-decoder", "imon", "nls_ascii"} <= asks.words
    assert {"crypto-hmac(sha256)", "crypto-hmac", "crypto-sha256", "crypto-sha256-all"} <= asks.words
    assert {"dm-*", "crypto-*", "nls_*"} <= asks.families
    assert "nls_utf8" in asks.configured({"NLS_DEFAULT": '"utf8"'})
    assert not any("%" in word for word in asks.words)


@pytest.mark.parametrize("name", ["ext4", "scsi_mod", "fat", "btrfs", "dm-crypt"])
def test_symbols_are_those_that_pyelftools_reads(name: str, debian_kernel: Kernel) -> None:
    """Of real modules the undefined symbols are the same."""
    data = plain_module(debian_kernel, name)
    table = ELFFile(io.BytesIO(data)).get_section_by_name(".symtab")
    assert table is not None
    theirs = {s.name for s in table.iter_symbols() if s["st_shndx"] == "SHN_UNDEF" and s.name}  # type: ignore[attr-defined]
    assert references(data, FOLLOWED).symbols == theirs


def test_real_modules(debian_kernel: Kernel) -> None:
    """What some are known to ask for, by their source."""
    if "crc64_rocksoft" not in builtin_names(debian_kernel):  # it is inside Debian 13's kernel
        rocksoft = asks_of_module("crc64-rocksoft", plain_module(debian_kernel, "crc64-rocksoft"))
        assert "crypto-crc64-rocksoft" in rocksoft.words  # lib/crc64-rocksoft.c
    if kernel_release(debian_kernel) < (
        6,
        7,
    ):  # sound/hda/hdac_i915.c; later ones wait for the driver to come
        assert "i915" in asks_of_module("snd-hda-core", plain_module(debian_kernel, "snd-hda-core")).words
    for name, word in {
        "ext4": "crypto-crc32c",  # fs/ext4/super.c
        "btrfs": "crypto-xxhash64",  # fs/btrfs/disk-io.c, from a table
        "iwlwifi": "iwlmvm",  # drivers/net/wireless/intel/iwlwifi/iwl-drv.c, from a table
        "scsi_mod": "scsi_dh_alua",  # drivers/scsi/scsi_dh.c, "scsi_dh_%s" with a table's names
    }.items():
        assert word in asks_of_module(name, plain_module(debian_kernel, name)).words, name
    assert "dm-*" in asks_of_module("dm-mod", plain_module(debian_kernel, "dm-mod")).families
    assert "nft-expr-*" in asks_of_module("nf_tables", plain_module(debian_kernel, "nf_tables")).families
    assert "xt_*" in asks_of_module("ip_tables", plain_module(debian_kernel, "ip_tables")).families
    fat = asks_of_module("fat", plain_module(debian_kernel, "fat"))
    assert "nls_cp437" in fat.configured({"FAT_DEFAULT_CODEPAGE": "437"})


@settings(max_examples=examples(100), deadline=None)
@given(data=st.data())
def test_damage_is_an_error_or_nothing(compiled: bytes, data: st.DataObject) -> None:
    """A file that is cut short, or has a wrong byte, raises ElfError, if anything."""
    cut = data.draw(st.integers(4, len(compiled)))
    at = data.draw(st.integers(4, len(compiled) - 1))
    for bad in (
        compiled[:cut],
        compiled[:at] + data.draw(st.binary(min_size=1, max_size=4)) + compiled[at + 1 :],
    ):
        with contextlib.suppress(ElfError):
            references(bad, FOLLOWED)


def test_a_table_beyond_all_files(compiled: bytes) -> None:
    """An offset that no file reaches, of which struct says nothing but OverflowError, is damage."""
    with pytest.raises(ElfError):
        references(compiled[:40] + b"\xff" * 8 + compiled[48:], FOLLOWED)


def test_what_has_no_code_refers_to_nothing() -> None:
    """A file for 32 bits, one without symbols; what is no ELF file at all is an error."""
    plain = module_bytes(FakeModule("a", needs=["b"]))
    assert references(plain, FOLLOWED).symbols == {"b_symbol"}
    assert references(plain[:4] + b"\1" + plain[5:], FOLLOWED) == NOTHING
    with pytest.raises(ElfError, match="neither for 32 nor for 64 bits"):
        references(plain[:4] + b"\3" + plain[5:], FOLLOWED)
    with pytest.raises(ElfError, match="not an ELF file"):
        references(b"MZ", FOLLOWED)
