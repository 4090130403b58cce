"""Compressors, against the programs whose formats they write."""

import bz2
import platform
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostbuild.formats.compress import WRITABLE, Compressor, Packing, detect, sink
from hostbuild.formats.unpack import CompressionError, decompress
from tests.support.fuzzing import examples
from tests.support.programs import require_program

PLAIN = b"".join(b"line %d of something that repeats\n" % number for number in range(5000))
CODE = Path(require_program("busybox")).read_bytes()[: 1 << 20]
PACKED_ONLY = [compressor for compressor in WRITABLE if compressor is not Compressor.NONE]


def _name(compressor: Compressor) -> str:
    return compressor.value


WITH_END_MARK = [compressor for compressor in PACKED_ONLY if compressor is not Compressor.LZ4]
EMPTY: dict[Compressor, bytes] = {
    compressor: sink(Packing(compressor), 1 << 20).flush() for compressor in PACKED_ONLY
}
PROGRAMS = {
    Compressor.ZSTD: ["zstd", "-dc"],
    Compressor.XZ: ["xz", "-dc"],
    Compressor.GZIP: ["gzip", "-dc"],
    Compressor.LZ4: [require_program("lz4"), "-dc"],
}


def pack(compressor: Compressor, data: bytes, piece: int = 10_000) -> bytes:
    packer = sink(Packing(compressor), 1 << 20)
    out = b"".join(packer.compress(data[i : i + piece]) for i in range(0, len(data), piece))
    return out + packer.flush()


@pytest.mark.parametrize("compressor", PACKED_ONLY, ids=_name)
def test_the_formats_own_program_unpacks_it(compressor: Compressor) -> None:
    """zstd, xz, gzip and lz4 give the bytes back that went in."""
    argv = PROGRAMS[compressor]
    done = subprocess.run(argv, input=pack(compressor, PLAIN), capture_output=True, check=True, timeout=20)
    assert done.stdout == PLAIN


@pytest.mark.slow
@pytest.mark.parametrize("compressor", WRITABLE, ids=_name)
def test_two_runs_give_the_same_bytes(compressor: Compressor) -> None:
    """No time and no name gets into the stream."""
    assert pack(compressor, PLAIN) == pack(compressor, PLAIN)


@pytest.mark.parametrize("compressor", WRITABLE, ids=_name)
@settings(max_examples=examples(30), deadline=None)  # each opens a compressor, and xz has a large dictionary
@given(data=st.binary(max_size=2000))
def test_round_trip(compressor: Compressor, data: bytes) -> None:
    """What is packed is detected by its magic and unpacks to the same bytes; nothing is left over."""
    packed = pack(compressor, data, piece=700)
    if compressor is not Compressor.NONE:
        assert detect(packed) is compressor
    assert decompress(compressor, packed) == (data, b"")


@pytest.mark.parametrize("compressor", WITH_END_MARK, ids=_name)
def test_what_follows_a_stream_is_left(compressor: Compressor) -> None:
    """A stream ends where it ends; what comes behind it is given back."""
    plain, rest = decompress(compressor, pack(compressor, PLAIN) + b"\0\0070701")
    assert (plain, rest) == (PLAIN, b"\0\0070701")


def test_lz4_ends_at_zeros() -> None:
    """A legacy frame has no end mark; NULs behind it end it, as they do for the kernel."""
    assert decompress(Compressor.LZ4, pack(Compressor.LZ4, PLAIN) + bytes(4)) == (PLAIN, bytes(4))


def test_lz4_has_several_blocks() -> None:
    """More than 8 MiB make more than one block, and lz4 unpacks them."""
    data = bytes(8 << 20) + PLAIN
    packed = pack(Compressor.LZ4, data, piece=1 << 20)
    done = subprocess.run(
        [require_program("lz4"), "-dc"], input=packed, capture_output=True, check=True, timeout=20
    )
    assert done.stdout == data
    assert decompress(Compressor.LZ4, packed) == (data, b"")


def test_bzip2_is_read() -> None:
    """Images of others may be packed with bzip2."""
    packed = bz2.compress(PLAIN)
    assert detect(packed) is Compressor.BZIP2
    assert decompress(Compressor.BZIP2, packed + b"x") == (PLAIN, b"x")


def test_xz_has_the_check_that_the_kernel_knows() -> None:
    """The kernel's decoder knows CRC32 alone (lib/decompress_unxz.c); byte 7 names the check."""
    assert pack(Compressor.XZ, PLAIN)[7] == 1


@pytest.mark.parametrize("compressor", PACKED_ONLY, ids=_name)
def test_a_cut_stream_is_refused(compressor: Compressor) -> None:
    """Half a stream is an error that says so, never half the data."""
    with pytest.raises(CompressionError, match=r"cut short|damaged"):
        decompress(compressor, pack(compressor, PLAIN)[:-10])


@pytest.mark.parametrize("compressor", PACKED_ONLY, ids=_name)
@settings(max_examples=examples(30), deadline=None)
@given(noise=st.binary(max_size=100))
def test_noise_behind_a_magic_is_refused(compressor: Compressor, noise: bytes) -> None:
    """Damaged data ends in CompressionError, never in a library's own exception."""
    head = EMPTY[compressor][:4]
    try:
        plain, rest = decompress(compressor, head + noise)
    except CompressionError:
        return
    assert len(rest) <= len(noise)
    assert isinstance(plain, bytes)


@pytest.mark.parametrize("compressor", PACKED_ONLY, ids=_name)
@pytest.mark.slow
def test_the_smallest_packing(compressor: Compressor) -> None:
    """It is never larger than the usual one, and the format's own program unpacks it."""
    packer = sink(Packing(compressor, smallest=True), len(CODE))
    packed = packer.compress(CODE) + packer.flush()
    assert len(packed) <= len(pack(compressor, CODE))
    done = subprocess.run(PROGRAMS[compressor], input=packed, capture_output=True, check=True, timeout=20)
    assert done.stdout == CODE


@pytest.mark.slow
def test_the_branch_filter() -> None:
    """x86's branch filter makes machine code smaller, and xz undoes it."""
    packed = {}
    for x86_filter in (False, True):
        packer = sink(Packing(Compressor.XZ, x86_filter=x86_filter), len(CODE))
        packed[x86_filter] = packer.compress(CODE) + packer.flush()
        done = subprocess.run(
            ["xz", "-dc"], input=packed[x86_filter], capture_output=True, check=True, timeout=20
        )
        assert done.stdout == CODE
    if platform.machine() == "x86_64":
        assert len(packed[True]) < len(packed[False])


@given(size=st.integers(0, 1 << 40), smallest=st.booleans())
def test_the_window(size: int, smallest: bool) -> None:
    """No window is larger than the kernel's deCODEr of zstd takes, nor much larger than what is packed."""
    for compressor in WRITABLE:
        window = Packing(compressor, smallest).window(size)
        assert window <= 64 << 20
        assert window < max(2 * size, (1 << 20) + 1)


def test_lz4_frames_may_follow_one_another() -> None:
    """The kernel's decoder passes over a magic number between blocks (lib/decompress_unlz4.c), as lz4 itself does."""
    twice = pack(Compressor.LZ4, PLAIN) * 2
    done = subprocess.run(
        [require_program("lz4"), "-dc"], input=twice, capture_output=True, check=True, timeout=20
    )
    assert done.stdout == PLAIN * 2
    assert decompress(Compressor.LZ4, twice) == (PLAIN * 2, b"")


def test_a_damaged_block_of_lz4_is_named() -> None:
    """Which block it is, by its place in the file."""
    block = b"\xff" * 40
    data = pack(Compressor.LZ4, PLAIN) + len(block).to_bytes(4, "little") + block
    at = len(data) - len(block) - 4
    with pytest.raises(CompressionError, match=rf"lz4 data is damaged in the block at offset {at}: "):
        decompress(Compressor.LZ4, data)
