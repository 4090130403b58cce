"""The uevent parser beside pyroute2's, which shares no code with it."""

import string

from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.uevent import MarshalUevent

from modaliasd.core.uevent.parse import Action, parse_uevent

KEYS = st.text(string.ascii_uppercase + "_", min_size=1, max_size=20).filter(
    lambda key: key not in {"ACTION", "DEVPATH", "SEQNUM"}
)
VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=200)
PATHS = st.text(st.characters(codec="utf-8", exclude_characters="\0@"), max_size=200).map("/devices/".__add__)


@given(
    st.sampled_from(list(Action)),
    PATHS,
    st.integers(0, 2**64 - 1),
    st.dictionaries(KEYS, VALUES, max_size=12),
)
def test_both_read_the_same_fields(action: Action, devpath: str, seqnum: int, fields: dict[str, str]) -> None:
    """Whatever stands in a kernel's datagram, both give the same keys and values and the same header."""
    env = {"ACTION": action.value, "DEVPATH": devpath} | fields | {"SEQNUM": str(seqnum)}
    header = f"{action.value}@{devpath}"
    datagram = "\0".join([header, *(f"{key}={value}" for key, value in env.items())]).encode() + b"\0"
    (theirs,) = MarshalUevent().parse(datagram)
    ours = parse_uevent(datagram)
    assert {key: theirs[key] for key in theirs if key not in {"attrs", "header"}} == ours.env
    assert theirs["header"]["message"] == f"{ours.action.value}@{ours.devpath}"
    assert ours.seqnum == seqnum
