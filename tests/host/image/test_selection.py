"""Selections of modules and what they bring with them, on a made-up kernel and on Debian's."""

import gzip
import lzma
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import zstandard

from hostbuild.errors import InputError
from hostbuild.formats.modules.modfile import ModuleFileError, plain_path, read_module
from hostbuild.image.modules import selection
from hostbuild.image.modules.module import facts_of, load
from hostbuild.image.modules.selection import Index, SelectionError, close, parse_index, select
from hostbuild.kernels.kernel import Kernel, KernelError
from modaliasd.core.kmod.names import module_name
from tests.support.komaker import FakeModule, module_bytes
from tests.support.programs import require_program

if TYPE_CHECKING:
    from collections.abc import Callable

DEP = """\
kernel/drivers/net/e1000.ko:
kernel/drivers/net/virtio_net.ko: kernel/drivers/virtio/virtio.ko kernel/net/core/failover.ko
kernel/drivers/virtio/virtio.ko.xz:
kernel/net/core/failover.ko:
kernel/fs/ext4/ext4.ko: kernel/fs/jbd2/jbd2.ko
kernel/fs/jbd2/jbd2.ko:
kernel/crypto/crc32c_generic.ko:
kernel/arch/x86/crypto/crc32c-intel.ko:
kernel/sound/snd-hda-intel.ko: kernel/sound/snd.ko
kernel/sound/snd.ko:
kernel/drivers/a.ko:
kernel/drivers/b.ko: kernel/drivers/a.ko
"""
SOFTDEP = """\
# Soft dependencies extracted from modules themselves.
softdep ext4 pre: crc32c
softdep a pre: snd-hda-intel post: b
softdep b post: a
"""
ALIAS = """\
# Aliases extracted from modules themselves.
alias crc32c crc32c_generic
alias crc32c crc32c_intel
alias pci:v00008086d* e1000
"""


@pytest.fixture
def index() -> Index:
    texts = {"dep": DEP, "softdep": SOFTDEP, "alias": ALIAS, "builtin": "kernel/drivers/nvme-core.ko\n"}
    return parse_index({f"modules.{name}": text.encode() for name, text in texts.items()})


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        ("e1000", "e1000"),
        ("e1000, virtio-net", "e1000 virtio_net"),
        ("kernel/drivers/net/", "e1000 virtio_net"),
        ("kernel/fs/*/*4.ko", "ext4"),
        ("kernel/drivers/virtio/virtio.ko", "virtio"),
        ("snd*", "snd snd_hda_intel"),
        ("snd*,-snd-hda-*", "snd"),
        ("-snd,snd*", "snd snd_hda_intel"),
        ("crc32c-[ig]*", "crc32c_generic crc32c_intel"),
        ("all,-kernel/,e1000", "e1000"),
        ("none", ""),
        ("none,a", "a"),
        ("nvme-core,a", "a"),
        ("virtio", "virtio_net"),
    ],
)
def test_select(index: Index, selection: str, expected: str) -> None:
    """Names, directories, globs and exclusions are read from left to right, and the last word counts."""
    assert select(selection, index) == expected.split()


@pytest.mark.parametrize("selection", ["e1001", "kernel/nowhere/", "foo*", "e1000,-e10000"])
def test_unknown_words_are_refused(index: Index, selection: str) -> None:
    """A word that speaks of no module is an error which names it, also as an exclusion."""
    word = selection.rpartition(",")[2].removeprefix("-")
    with pytest.raises(SelectionError) as caught:
        select(selection, index)
    assert repr(word) in str(caught.value)
    assert caught.value.hint.startswith(
        "a selection is all, luks, lvm, md, network, none, qemu, root or virtio, "
    )


def test_unknown_word_brings_similar_names(index: Index) -> None:
    """A typing error is answered with what may have been meant."""
    with pytest.raises(SelectionError, match=r"did you mean virtio_net"):
        select("virtio_nte", index)


def test_dependencies_and_softdeps_come_with_it(index: Index) -> None:
    """Dependencies, softdeps (all that answer to an alias) and theirs come, also if they were taken out."""
    assert close(["ext4"], index) == ["crc32c_generic", "crc32c_intel", "ext4", "jbd2"]
    assert close(select("all,-jbd2,-all,ext4", index), index) == close(["ext4"], index)


def test_loops_of_softdeps_end(index: Index) -> None:
    """a wants b after itself, b wants a: both come, once."""
    assert close(["b"], index) == ["a", "b", "snd", "snd_hda_intel"]


def test_modules_are_read_plain_from_any_compressor(tmp_path: Path) -> None:
    """.ko, .ko.gz, .ko.xz and .ko.zst give the same bytes; a damaged one is an error that names the file."""
    plain = b"\x7fELF and the rest"
    packers: dict[str, Callable[[bytes], bytes]] = {
        ".ko": bytes,
        ".ko.gz": gzip.compress,
        ".ko.xz": lzma.compress,
        ".ko.zst": zstandard.ZstdCompressor().compress,
    }
    for ending, pack in packers.items():
        path = tmp_path / f"m{ending}"
        path.write_bytes(pack(plain))
        assert read_module(path) == plain
        if ending != ".ko":
            path.write_bytes(pack(plain)[:-12])
            with pytest.raises(ModuleFileError, match=f"cannot read the module .*m{ending}"):
                read_module(path)


def test_plain_path() -> None:
    """The compressor's ending goes, and only that."""
    assert plain_path("kernel/sound/snd-hda-intel.ko.zst") == "kernel/sound/snd-hda-intel.ko"
    assert plain_path("kernel/a.ko") == "kernel/a.ko"
    assert plain_path("kernel/a") == "kernel/a"


def test_a_module_that_is_no_elf_is_named(tmp_path: Path, index: Index) -> None:
    """A damaged module is found when the image is built, not when the guest boots."""
    path = tmp_path / "kernel/drivers/a.ko"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"junk")
    with pytest.raises(InputError, match=r"a\.ko is damaged"):
        load(["a"], index, tmp_path)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("kernel/a.ko", r"modules\.dep:2: a line without a colon: 'kernel/a\.ko'"),
        ("kernel/b.ko:", "has a line already"),
    ],
)
def test_damaged_dep_is_refused(tmp_path: Path, line: str, words: str) -> None:
    """A line of selection.dep that is none is an error that shows it with its place: the guest would skip it."""
    (tmp_path / "modules.dep").write_text(f"kernel/b.ko:\n{line}\n")
    kernel = Kernel(tmp_path / "vmlinuz", "6.1", "", "", modules=tmp_path, indexes=tmp_path)
    with pytest.raises(KernelError, match=words):
        selection.read_index(kernel)


def test_a_line_of_the_other_tables_is_told_of() -> None:
    """What stands in no table as it should costs that line; words before a softdep's `pre:` come along, too."""
    index = parse_index(
        {"modules.dep": b"k/a.ko:\nk/b.ko:\n", "modules.softdep": b"softdep a b\nsoftdp a b\n"}
    )
    assert close(["a"], index) == ["a", "b"]
    assert [(problem.file, problem.line) for problem in index.problems] == [("modules.softdep", 2)]


@pytest.mark.net
@pytest.mark.parametrize("name", ["ext4", "e1000e", "virtio_net", "snd-hda-intel", "usb-storage", "btrfs"])
def test_closure_holds_what_kmod_would_insert(debian_kernel: Kernel, tmp_path: Path, name: str) -> None:
    """Every module that kmod's `modprobe -D` inserts for a module is in its closure."""
    index = selection.read_index(debian_kernel)
    assert debian_kernel.indexes is not None
    (tmp_path / "lib/modules").mkdir(parents=True)
    (tmp_path / "lib/modules" / debian_kernel.version).symlink_to(debian_kernel.indexes)
    argv = [
        require_program("modprobe"),
        "-C",
        "/nonexistent",
        "-d",
        str(tmp_path),
        "-S",
        debian_kernel.version,
        "-D",
        name,
    ]
    shown = subprocess.run(argv, capture_output=True, check=True, timeout=20, text=True).stdout
    inserted = {module_name(line.split()[1]) for line in shown.splitlines() if line.startswith("insmod")}
    assert module_name(f"{name}.ko") in inserted
    assert inserted <= set(close(select(name, index), index))


@pytest.mark.net
def test_the_default_selection_has_what_qemu_emulates(debian_kernel: Kernel) -> None:
    """One driver for each of QEMU's kinds of devices is in the default selection's closure."""
    index = selection.read_index(debian_kernel)
    names = (
        set(close(select("qemu", index), index)) | index.builtin
    )  # Debian 13's kernel has virtio_pci inside
    emulated = """
        virtio_pci virtio_blk virtio_net virtio_scsi virtio_rng virtio_balloon virtio_console
        virtio_input nvme ahci ata_piix sd_mod sr_mod megaraid_sas mptsas sym53c8xx vmw_pvscsi am53c974
        sdhci_pci mmc_block xhci_pci ehci_pci uhci_hcd ohci_pci usb_storage uas usbhid hid_generic
        snd_usb_audio ftdi_sio cdc_ether e1000 e1000e igb 8139cp 8139too vmxnet3 tulip pcnet32 ne2k_pci dummy
        snd_hda_intel snd_hda_codec_generic snd_intel8x0 snd_ens1370 i6300esb
        ext4 vfat isofs squashfs erofs 9p virtiofs overlay
    """
    assert set(emulated.split()) - names == set()


@pytest.mark.parametrize(
    ("dep", "words"), [("", r"modules\.dep lists no module"), (None, r"modules\.dep: it does not exist")]
)
def test_a_tree_without_a_module_is_refused(tmp_path: Path, dep: str | None, words: str) -> None:
    """An empty modules.dep, and none: depmod is the fix of both."""
    if dep is not None:
        (tmp_path / "modules.dep").write_text(dep)
    kernel = Kernel(tmp_path / "vmlinuz", "6.1", "", "", modules=tmp_path, indexes=tmp_path)
    with pytest.raises(KernelError, match=words) as caught:
        selection.read_index(kernel)
    assert (caught.value.hint or "").startswith("depmod")


@pytest.mark.parametrize("words", ["", " , \n"])
def test_an_empty_selection_is_refused(index: Index, words: str) -> None:
    """Nothing is not `none`: a variable that is empty by mistake is told, with the word that was meant."""
    with pytest.raises(SelectionError, match="the selection of modules is empty") as caught:
        select(words, index)
    assert "--modules none" in (caught.value.hint or "")


def test_a_need_that_has_no_line_is_told(tmp_path: Path) -> None:
    """modules.dep names what it does not list: depmod was not run since that went."""
    broken = parse_index({"modules.dep": b"k/a.ko: k/b.ko\n"})
    with pytest.raises(KernelError, match="names b as a dependency, but has no line for it"):
        load(["b"], broken, tmp_path)


@pytest.mark.parametrize("mark", [b"firmware=x", b"request_module"])
def test_a_module_whose_sections_are_damaged_is_named(tmp_path: Path, index: Index, mark: bytes) -> None:
    """The header is an ELF file's and what it leads to is not there: said with the file's path."""
    path = tmp_path / "kernel/drivers/a.ko"
    path.parent.mkdir(parents=True)
    path.write_bytes(module_bytes(FakeModule("a", firmware=["x"]))[:80] + mark + b"\0" * 64)
    with pytest.raises(InputError, match=r"the module .*a\.ko is damaged"):
        load(["a"], index, tmp_path)


def test_facts_are_those_of_the_contents(tmp_path: Path) -> None:
    """What is remembered is what loading tells; a file of the same size and time that says something else is another.

    One that is damaged, missing, or compressed under a plain one's name has none: loading says what is wrong.
    """
    index = parse_index({"modules.dep": b"a.ko:\ndamaged.ko:\ngone.ko:\npacked.ko:\nother.ko.xz:\n"})
    (tmp_path / "damaged.ko").write_bytes(b"\x7fELF")
    (tmp_path / "packed.ko").write_bytes(gzip.compress(module_bytes(FakeModule("packed"))))
    (tmp_path / "other.ko.xz").write_bytes(lzma.compress(module_bytes(FakeModule("other"))))
    for firmware in ("one.bin", "two.bin"):
        (tmp_path / "a.ko").write_bytes(module_bytes(FakeModule("a", firmware=[firmware])))
        os.utime(tmp_path / "a.ko", ns=(0, 0))
        for _ in range(2):
            facts = facts_of(index.paths, index, tmp_path)
            assert list(facts) == ["a"]
            assert load(["a"], index, tmp_path, facts) == load(["a"], index, tmp_path)
            [module] = load(["a"], index, tmp_path, facts)
            assert module.firmware == (firmware,)
            assert module.vermagic == FakeModule("a").vermagic
