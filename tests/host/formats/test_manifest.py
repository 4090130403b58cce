"""formats/manifest.py: how a manifest is written."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hostbuild.formats.manifest import dump

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)


@given(st.dictionaries(st.text(), VALUES))
def test_a_manifest_is_written_as_the_library_would(manifest: dict[str, Any]) -> None:
    """Whatever stands in it: the bytes are those of json.dumps, indented by one."""
    assert dump(manifest) == json.dumps(manifest, indent=1).encode() + b"\n"
