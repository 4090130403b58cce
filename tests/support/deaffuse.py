"""A file system in the guest that does not answer (FUSE): who opens its only file sleeps, uninterruptibly (state D).

Run in the guest as `python3 deaffuse.py FILE`: it is mounted on FILE, a regular file. Its attributes are told, so that
stat(2) works; an open is never answered. With its end, open(2) fails (ENOTCONN, ECONNABORTED).
"""

import os
import struct
import sys

INIT, GETATTR = 26, 3  # include/uapi/linux/fuse.h


def main(path: str) -> None:
    """Mount, say so, and answer what does not open."""
    device = os.open("/dev/fuse", os.O_RDWR)
    os.set_inheritable(device, True)
    options = f"fd={device},rootmode=100644,user_id=0,group_id=0"
    size = os.stat(path).st_size
    pid = os.posix_spawn("/bin/mount", ["mount", "-t", "fuse", "-o", options, "deaf", path], os.environ)
    os.waitpid(pid, 0)  # before the mount nothing can be read
    while True:
        request = os.read(device, 1 << 17)
        _length, opcode, unique = struct.unpack_from("<IIQ", request)
        if opcode == INIT:
            body = struct.pack("<IIIIHHIIHHI28x", 7, 31, 0, 0, 0, 0, 4096, 1, 0, 0, 0)
        elif opcode == GETATTR:
            attributes = struct.pack(
                "<QQQQQQIIIIIIIIII", 1, size, 1, 0, 0, 0, 0, 0, 0, 0o100644, 1, 0, 0, 0, 4096, 0
            )
            body = struct.pack("<QII", 3600, 0, 0) + attributes
        else:
            continue
        os.write(device, struct.pack("<IiQ", 16 + len(body), 0, unique) + body)
        if opcode == INIT:
            print("mounted", flush=True)


main(sys.argv[1])
