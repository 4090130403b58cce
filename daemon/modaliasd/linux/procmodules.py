"""What the kernel and its module tree tell of modules: which are in, how large their files are, how they end."""

from __future__ import annotations

import posix

from modaliasd.linux.descriptors import close_file, open_file

_WHOLE = 1 << 22  # bytes: a driver of a hash has a hundredth of it


def file_size(modules_dir: str, path: str) -> int:
    """Return the size of a module's file, whose path is as in modules.dep; 0 where there is none."""
    if not path:
        return 0
    try:
        return posix.stat(_place(modules_dir, path)).st_size
    except OSError:
        return 0


def read_tail(modules_dir: str, path: str, size: int) -> bytes:
    """Return the last bytes of a module's file; none where it cannot be read."""
    try:
        descriptor = posix.open(_place(modules_dir, path), posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return posix.pread(descriptor, size, max(posix.fstat(descriptor).st_size - size, 0))
    except OSError:
        return b""
    finally:
        posix.close(descriptor)


def read_unpacked(modules_dir: str, path: str) -> bytes:
    """Return a compressed module as it was before; b"" where this interpreter cannot unpack it, or nobody could.

    Such modules of the standard library are used where they are, and are no reason to carry them into an image: so
    these are no import statements.
    """
    try:
        data = read_tail(modules_dir, path, _WHOLE)
        if path.endswith(".gz"):
            unpacked: bytes = __import__("zlib").decompress(data, 31)  # a gzip header, a 32 KiB window
        elif path.endswith(".xz"):
            unpacked = __import__("lzma").decompress(data)
        elif path.endswith(".zst"):  # Python 3.14
            unpacked = __import__("compression.zstd", fromlist=["zstd"]).decompress(data)
        else:
            return b""
    except Exception:  # noqa: BLE001 - each has its own error, which cannot be named without it
        return b""
    return unpacked


def _place(modules_dir: str, path: str) -> str:
    return path if path.startswith("/") else f"{modules_dir}/{path}"


def read_live_modules(path: str = "/proc/modules") -> list[str]:
    """Return the names of the modules in the kernel; none where the kernel has no /proc/modules."""
    try:
        descriptor = open_file(path)
    except OSError:
        return []
    chunks: list[bytes] = []
    try:
        while chunk := posix.read(descriptor, 65536):
            chunks.append(chunk)
    finally:
        close_file(descriptor)
    return [entry.partition(" ")[0] for entry in b"".join(chunks).decode("ascii", "replace").splitlines()]


def are_modules_disabled(path: str = "/proc/sys/kernel/modules_disabled") -> bool:
    """Return whether the kernel takes no modules until it is booted again; not where it cannot be asked."""
    try:
        descriptor = open_file(path)
    except OSError:
        return False
    try:
        return posix.read(descriptor, 16).strip() == b"1"
    except OSError:
        return False
    finally:
        close_file(descriptor)
