"""The kernel's unpacking (init/initramfs.c, do_name and do_symlink) done with system calls in a chroot: an oracle.

It reads a line of JSON for each archive, a list of members (a dictionary of a Member's fields, data and target in
hexadecimal), and answers with a line: what lies in the root then. What paths mean, and what replaces what, is the
running kernel's word. Run as root of a user namespace; of devices it knows FIFOs and sockets only.
"""

import contextlib
import json
import os
import shutil
import stat
import sys
import tempfile
from typing import Any


def serve() -> None:
    """Answer until standard input ends."""
    os.umask(0)
    for line in sys.stdin:
        place = tempfile.mkdtemp()
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.chroot(place)
            os.chdir("/")
            for name in ("dev", "root"):
                os.mkdir(name, 0o755)
            os.close(os.open("dev/console", os.O_CREAT))  # a device, but that is refused here
            links: dict[tuple[object, ...], bytes] = {}
            for member in json.loads(line):
                with contextlib.suppress(OSError):
                    unpack(member, links)
            with os.fdopen(writer, "w") as out:
                json.dump(listing(), out)
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as answer:
            print(answer.read(), flush=True)
        os.waitpid(child, 0)
        shutil.rmtree(place)


def unpack(member: dict[str, Any], links: dict[tuple[object, ...], bytes]) -> None:
    """Do with a member what do_name or do_symlink does. Raises OSError where it comes to nothing."""
    name, mode, data = bytes.fromhex(member["name"]), member["mode"], bytes.fromhex(member["data"])
    if stat.S_ISLNK(mode):
        clean(name, 0)
        os.symlink(data, name)
        return
    if not stat.S_ISREG(mode) and data:
        return
    if name == b"TRAILER!!!":
        links.clear()
        return
    clean(name, mode)
    if stat.S_ISREG(mode):
        linked = maybe_link(member, name, links)
        # not to wait for a FIFO's reader, as the kernel would for ever
        flags = os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK | (0 if linked else os.O_TRUNC)
        file = os.open(name, flags, stat.S_IMODE(mode))
        os.fchmod(file, stat.S_IMODE(mode))
        if data:
            os.truncate(file, len(data))
            os.write(file, data)
        os.close(file)
    elif stat.S_ISDIR(mode):
        with contextlib.suppress(OSError):
            os.mkdir(name, stat.S_IMODE(mode))
        os.chmod(name, stat.S_IMODE(mode))
    elif (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)) and not maybe_link(member, name, links):
        with contextlib.suppress(OSError):
            os.mknod(name, mode)
        os.chmod(name, stat.S_IMODE(mode))


def clean(name: bytes, mode: int) -> None:
    """clean_path: remove what is of another type."""
    with contextlib.suppress(OSError):
        found = os.lstat(name).st_mode
        if stat.S_IFMT(found) != stat.S_IFMT(mode):
            if stat.S_ISDIR(found):
                os.rmdir(name)
            else:
                os.unlink(name)


def maybe_link(member: dict[str, Any], name: bytes, links: dict[tuple[object, ...], bytes]) -> bool:
    """Link to the first name of the inode. Raises OSError."""
    if member["nlink"] < 2:
        return False
    key = (*member["dev"], member["ino"], stat.S_IFMT(member["mode"]))
    if key not in links:
        links[key] = name
        return False
    clean(name, 0)
    os.link(links[key], name, follow_symlinks=False)
    return True


def listing() -> list[dict[str, Any]]:
    """All that lies below the root."""
    found = []
    for directory, names, files in os.walk(b"/"):
        for name in names + files:
            path = os.path.join(directory, name)
            status = os.lstat(path)
            row = {"path": path[1:].hex(), "mode": status.st_mode, "inode": status.st_ino, "data": ""}
            if stat.S_ISREG(status.st_mode):
                with open(path, "rb") as file:
                    row["data"] = file.read().hex()
            elif stat.S_ISLNK(status.st_mode):
                row["data"] = os.readlink(path).hex()
            found.append(row)
    return found


if __name__ == "__main__":
    serve()
