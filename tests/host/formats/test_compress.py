"""Compressors, against the programs whose formats they write."""

import bz2
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostbuild.formats.compress import WRITABLE, CompressionError, Compressor, decompress, detect, sink
from tests.support.fuzzing import examples
from tests.support.programs import require_program

PLAIN = b"".join(b"line %d of something that repeats\n" % number for number in range(5000))
PACKED_ONLY = [compressor for compressor in WRITABLE if compressor is not Compressor.NONE]


def _name(compressor: Compressor) -> str:
    return compressor.value


WITH_END_MARK = [compressor for compressor in PACKED_ONLY if compressor is not Compressor.LZ4]
EMPTY: dict[Compressor, bytes] = {compressor: sink(compressor).flush() for compressor in PACKED_ONLY}
PROGRAMS = {
    Compressor.ZSTD: ["zstd", "-dc"],
    Compressor.XZ: ["xz", "-dc"],
    Compressor.GZIP: ["gzip", "-dc"],
    Compressor.LZ4: [require_program("lz4"), "-dc"],
}


def pack(compressor: Compressor, data: bytes, piece: int = 10_000) -> bytes:
    packer = sink(compressor)
    out = b"".join(packer.compress(data[i : i + piece]) for i in range(0, len(data), piece))
    return out + packer.flush()


@pytest.mark.parametrize("compressor", PACKED_ONLY, ids=_name)
def test_the_formats_own_program_unpacks_it(compressor: Compressor) -> None:
    """zstd, xz, gzip and lz4 give the bytes back that went in."""
    argv = PROGRAMS[compressor]
    done = subprocess.run(argv, input=pack(compressor, PLAIN), capture_output=True, check=True, timeout=20)
    assert done.stdout == PLAIN


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
