"""Sockets in the file system (unix(7)): whether somebody takes connections there."""

from pathlib import Path

_TAKES_CONNECTIONS = 1 << 16  # __SO_ACCEPTCON of include/linux/net.h, in the Flags of /proc/net/unix


def is_listening(path: Path) -> bool:
    """Tell whether a stream socket listens at an absolute path, without connecting to it.

    The name is there as soon as it is bound, a moment before listen(2): until then whoever connects is refused.
    """
    ending = f" {path}"
    for line in Path("/proc/net/unix").read_text("utf-8", "surrogateescape").splitlines():
        if line.endswith(ending) and int(line.split()[3], 16) & _TAKES_CONNECTIONS:
            return True
    return False
