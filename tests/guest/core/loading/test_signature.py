"""core/loading/signature.py: by which hash a module is signed."""

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostbuild.kernels.kernel import Kernel
from modaliasd.core.loading.signature import MARK, TAIL_SIZE, hash_of_signature
from tests.support.kernelfiles import module_path, plain_module
from tests.support.programs import require_program

SHA256, SHA512 = (bytes.fromhex(f"0609608648016503040{number}") for number in ("201", "203"))


def signed(message: bytes, size: int | None = None) -> bytes:
    """The end of a module with this message as its signature; size: what the length field says."""
    size = len(message) if size is None else size
    return b"code" + message + bytes(8) + size.to_bytes(4, "big") + MARK


@pytest.mark.parametrize("name", ["sha256-ssse3", "loop"])
def test_modinfo_says_the_same(name: str, debian_kernel: Kernel) -> None:
    """kmod's modinfo, which reads the PKCS#7 message by libcrypto, names the same hash; cut short, there is none."""
    module = module_path(debian_kernel, name)
    said = subprocess.run(
        [require_program("modinfo"), "-F", "sig_hashalgo", module], capture_output=True, text=True, check=True
    )
    data = plain_module(debian_kernel, name)
    assert hash_of_signature(data[-TAIL_SIZE:]) == said.stdout.strip() == "sha256"
    assert hash_of_signature(data[:-1]) == hash_of_signature(b"") == hash_of_signature(MARK) == ""


def test_only_the_message_counts() -> None:
    """The hash is looked for in the message itself, as long as it says that it is, and not in the module."""
    assert hash_of_signature(signed(b"x" + SHA512 + b"y")) == "sha512"
    assert hash_of_signature(signed(b"x" + SHA256 + b"y" * 9, size=9)) == ""
    assert hash_of_signature(signed(b"x" + SHA256[:-1] + b"\x07")) == ""
    assert hash_of_signature(signed(SHA256, size=1 << 31)) == "sha256"


@given(st.binary(max_size=80).map(signed) | st.binary(max_size=80))
def test_any_bytes(tail: bytes) -> None:
    """No end of a file makes the reader fail."""
    assert hash_of_signature(tail) in ("", "sha256", "sha384", "sha512")
