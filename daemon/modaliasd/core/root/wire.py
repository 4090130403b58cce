"""Text as one word of a request: blanks, control characters, `%` and what is not ASCII become %XX, by its bytes."""

from __future__ import annotations


def quoted(text: str) -> str:
    """Return the text as one word."""
    return "".join(
        chr(byte) if 0x20 < byte < 0x7F and byte != 0x25 else f"%{byte:02X}"
        for byte in text.encode("utf-8", "surrogateescape")
    )


def unquoted(word: str) -> str:
    """Return the text; what is no %XX stays as it is."""
    data = bytearray()
    parts = word.encode("utf-8", "surrogateescape").split(b"%")
    data += parts[0]
    for part in parts[1:]:
        try:
            data.append(int(part[:2], 16))
        except ValueError:
            data += b"%" + part
        else:
            data += part[2:]
    return data.decode("utf-8", "surrogateescape")
