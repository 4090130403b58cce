"""A console with the kernel's log left out, until the guest has settled. Pure.

The log's lines have their time before them (printk.time=1). A line of somebody else's that the kernel broke into is
joined again. At the first settle the guest lowers its kernel's loglevel and writes MARK, an OSC sequence (ECMA-48)
that means nothing to a terminal; whatever follows is shown as it comes.

The guest asks how large the terminal is (rootfs-overlay/usr/bin/resize), and waits three seconds. While its console is
held back, the terminal hears nothing of that, so it is taken out and answered here: late, the answer would be typed
into the guest's shell, which takes it for where the cursor is.
"""

import re

MARK = b"\x1b]micro;settled\x07"
QUESTION = b"\0337\033[999;999H\033[6n\0338"  # ECMA-48: CUP and DSR 6, between DECSC and DECRC
_KERNEL = re.compile(rb"\[ *\d{1,10}\.\d{6}\](?:\[ *[TC]\d+\])? [^\n]*\n")
_BEGUN = re.compile(rb"\[(?: *\d{0,10}(?:\.\d{0,6}(?:\](?:\[? *(?:[TC]\d*\]?)?)?)?)?)?\Z")
_LINE_END = re.compile(rb"\r+\n")
_LONGEST = 4096  # a record of the kernel's log has 1,024 characters


class QuietConsole:
    """Takes the console's bytes and gives those to show. over: the mark has come, or the log is shown from here on."""

    def __init__(self) -> None:
        self.over = False
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """Return what is to be shown of what has come, so far."""
        if self.over:
            return data
        data = self._held + data
        self._held = b""
        before, mark, after = data.partition(MARK)
        if mark:
            self.over = True
            return _KERNEL.sub(b"", before) + after
        shown = _KERNEL.sub(b"", data)
        kept = _pending(shown)
        self._held = shown[kept:]
        return shown[:kept]

    def open(self) -> bytes:
        """Leave nothing out any more; return what was held back."""
        self.over = True
        held, self._held = self._held, b""
        return held


def _pending(data: bytes) -> int:
    """Return where something begins that may become a line of the kernel's, or the mark; the end if nothing does."""
    start = data.rfind(b"\n") + 1
    found = re.search(rb"\[ *\d{1,10}\.\d{6}\](?:\[ *[TC]\d+\])? [^\n]*\Z", data[start:]) or _BEGUN.search(
        data[start:]
    )
    places = [start + found.start()] if found else []
    for length in range(min(len(MARK) - 1, len(data)), 0, -1):
        if data.endswith(MARK[:length]):
            places.append(len(data) - length)
            break
    place = min(places, default=len(data))
    return place if len(data) - place <= _LONGEST else len(data)


class PlainLines:
    """A console's bytes for a file or a pipe: a terminal's line ends, CR LF, as those of a file, LF."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """Return what can be written of what has come, so far."""
        data = self._held + data
        self._held = data[len(data.rstrip(b"\r")) :]
        return _LINE_END.sub(b"\n", data[: len(data) - len(self._held)])

    def finish(self) -> bytes:
        """Return what is left at the end."""
        held, self._held = self._held, b""
        return held


class SizeQuestion:
    """What of the question for the terminal's size has come; it may come in pieces."""

    def __init__(self) -> None:
        self._part = b""

    def feed(self, data: bytes) -> tuple[bytes, int]:
        """Take what came; return what of it is to be shown, and how often the question was in it."""
        data = self._part + data
        asked = data.count(QUESTION)
        data = data.replace(QUESTION, b"")
        most = min(len(data), len(QUESTION) - 1)
        kept = next((n for n in range(most, 0, -1) if data.endswith(QUESTION[:n])), 0)
        self._part = data[len(data) - kept :]
        return data[: len(data) - kept], asked

    def rest(self) -> bytes:
        """Return what was kept as a beginning of it, and forget it."""
        part, self._part = self._part, b""
        return part


def answer(rows: int, columns: int) -> bytes:
    """Return what a terminal of this size says (ECMA-48: CPR)."""
    return b"\033[%d;%dR" % (rows, columns)
