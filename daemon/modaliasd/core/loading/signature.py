"""What a signed module's end tells: by which hash the kernel will check it.

Behind the module stand the signature, a PKCS#7 message; 12 bytes, of which the last four are the signature's length,
big-endian; and a line. Source: the kernel's scripts/sign-file.c, include/linux/module_signature.h; the hashes'
object identifiers are those of its include/linux/oid_registry.h.

The kernel hashes each module whole, and that is a tenth of what a boot spends on modules. The CPU's modalias asks for
drivers of faster hashes, too: the one for this hash is worth loading before anything else.
"""

from __future__ import annotations

HASH_NAME = (
    "modules.hash"  # the file of an image in which the hash's name stands, since compressed modules hide it
)
STRIPPED = (
    "stripped"  # stands there in the hash's place where `hostbuild make-image --strip` cut the signatures off
)
MARK = b"~Module signature appended~\n"
TAIL_SIZE = 4096  # bytes of a module's end that hold its signature; by a key of 4,096 bits it has 700
_SHA2 = b"\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02"  # 2.16.840.1.101.3.4.2, the hash's number follows
_NAMES = {1: "sha256", 2: "sha384", 3: "sha512"}  # as the kernel's crypto layer calls them
HASHES = ("sha256", "sha512", "sha384")


def hash_of_signature(tail: bytes) -> str:
    """Return the name of the hash that a module is signed with, by its last bytes; "" for none or an unknown one."""
    end = len(tail) - len(MARK) - 12
    if end < 0 or not tail.endswith(MARK):
        return ""
    size = int.from_bytes(tail[end + 8 : end + 12], "big")
    at = tail.find(_SHA2, max(end - size, 0), end)
    return _NAMES.get(tail[at + len(_SHA2)], "") if at >= 0 else ""
