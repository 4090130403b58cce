"""What a guest's library lacks is not used: codecs besides those inside the interpreter."""

import re
from pathlib import Path

DAEMON = Path(__file__).resolve().parents[4] / "daemon" / "modaliasd"
INSIDE = {"utf-8", "ascii", "latin-1"}  # unicodeobject.c knows these without encodings/


def test_only_the_interpreters_own_codecs() -> None:
    """Every codec that the daemon names is one that needs no module of the standard library."""
    named = {
        (path.name, codec)
        for path in DAEMON.rglob("*.py")
        for codec in re.findall(r'\b(?:en|de)code\(\s*"([^"]+)"', path.read_text(encoding="utf-8"))
    }
    assert {one for one in named if one[1] not in INSIDE} == set()
