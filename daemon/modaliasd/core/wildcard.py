"""fnmatch(3) as kmod uses it (flags 0), for the few patterns that stand in modprobe.d.

`*` any run, `?` one character, `[abc]` `[a-z]` one of a set, `[!..]` or `[^..]` one outside it, a backslash
takes the next character as it is. A `[` that is never closed stands for itself. modprobe.d allows no `]`
inside a set, so character classes cannot occur; backslashes inside sets are not special here. `fnmatch` of
the standard library compiles to `re`, which the boot path does not import.
"""


def is_wildcard(pattern: str) -> bool:
    """Whether the pattern can match anything but its own text."""
    return "*" in pattern or "?" in pattern or "[" in pattern or "\\" in pattern


def matches(pattern: str, text: str) -> bool:
    """Whether the whole of `text` matches `pattern`."""
    at = position = 0
    star = retry = -1
    while position < len(text):
        if at < len(pattern) and pattern[at] == "*":
            star, retry = at, position
            at += 1
            continue
        width = _one(pattern, at, text[position]) if at < len(pattern) else 0
        if width:
            at += width
            position += 1
            continue
        if star < 0:
            return False
        retry += 1
        at, position = star + 1, retry
    return pattern[at:].strip("*") == ""


def _one(pattern: str, at: int, character: str) -> int:
    """How many characters of the pattern stand for `character`; 0 where they do not match it."""
    head = pattern[at]
    if head == "?":
        return 1
    if head == "\\":
        return 2 if pattern[at + 1 : at + 2] == character else 0
    if head != "[":
        return 1 if head == character else 0
    first = at + 2 if pattern[at + 1 : at + 2] in ("!", "^") else at + 1
    end = pattern.find("]", first + 1)
    if end < 0:
        return 1 if character == "[" else 0
    inside = _in_set(pattern[first:end], character)
    return end - at + 1 if inside == (first == at + 1) else 0


def _in_set(members: str, character: str) -> bool:
    at = 0
    while at < len(members):
        low = high = members[at]
        at += 1
        if members[at : at + 1] == "-" and at + 1 < len(members):
            high = members[at + 1]
            at += 2
        if low <= character <= high:
            return True
    return False
