"""What a kernel finds in an image before it unpacks it: find_cpio_data of lib/earlycpio.c, an oracle for microcode."""

_HEADER = 110


def find_early(image: bytes, path: str) -> bytes | None:
    """Find a file as a kernel does before it unpacks an image (find_cpio_data); None where it does not find it.

    The kernel reads members from the image's first byte on and passes over NULs between them, and over an archive's
    end; at anything else, such as a compressed archive, it stops.
    """
    at = 0
    while at + _HEADER <= len(image):
        if image[at] == 0:
            at += 4  # headers stand at multiples of 4
            continue
        head = image[at : at + _HEADER]
        if head[:6] not in (b"070701", b"070702"):
            return None
        try:
            mode, size, name_size = (int(head[start : start + 8], 16) for start in (14, 54, 94))
        except ValueError:
            return None
        name = image[at + _HEADER : at + _HEADER + name_size]
        start = _up(at + _HEADER + name_size)
        if start + size > len(image):
            return None
        if mode & 0o170000 == 0o100000 and name.partition(b"\0")[0] == path.encode():
            return image[start : start + size]
        at = _up(start + size)
    return None


def _up(number: int) -> int:
    return -(-number // 4) * 4
