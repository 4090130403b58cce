"""image/treestate.py: what has changed of a tree since an image was made of it, and what that costs."""

from dataclasses import replace

import pytest

from hostbuild.errors import HostbuildError
from hostbuild.image.treestate import (
    Stamp,
    TreeRecord,
    TreeState,
    compare,
    dump_record,
    index_facts,
    parse_record,
)
from tests.support.komaker import FakeModule, module_bytes

NOW = TreeState("6.1.0", "lists", {"kernel/a.ko": Stamp(1, 10), "kernel/b.ko": Stamp(2, 20)})
THEN = replace(NOW, modules={path: replace(one, sha256=f"was {path}") for path, one in NOW.modules.items()})
RECORD = TreeRecord("key", "/linux", "/modules", "/indexes", THEN)


def never(path: str) -> str:
    raise AssertionError(f"{path} was read")


def test_a_tree_as_it_was_costs_no_reading() -> None:
    """With the same sizes and times no module is read, and the image is as good as before."""
    change = compare(RECORD, NOW, never)
    assert (change.anew, change.changed, change.stamps) == ("", (), THEN.modules)


def test_a_module_of_another_content_has_changed() -> None:
    """Only the one whose time differs is read; its record stays, so that it counts as changed the next time, too."""
    now = replace(NOW, modules={**NOW.modules, "kernel/b.ko": Stamp(2, 21)})
    change = compare(RECORD, now, lambda path: f"is {path}")
    assert (change.anew, change.changed) == ("", ("kernel/b.ko",))
    assert change.stamps == THEN.modules


def test_a_module_that_was_only_touched_has_not() -> None:
    """make may write the same again: its new time is noted, so that it is not read the next time."""
    now = replace(NOW, modules={**NOW.modules, "kernel/b.ko": Stamp(2, 21)})
    change = compare(RECORD, now, lambda path: f"was {path}")
    assert (change.anew, change.changed) == ("", ())
    assert change.stamps is not None
    again = replace(RECORD, state=replace(THEN, modules=change.stamps))
    assert compare(again, now, never).changed == ()


@pytest.mark.parametrize(
    "now",
    [
        replace(NOW, version="6.1.1"),
        replace(NOW, lists="others"),
        replace(NOW, modules={"kernel/a.ko": Stamp(1, 10)}),
        replace(NOW, modules={**NOW.modules, "kernel/c.ko": Stamp(3, 30)}),
    ],
    ids=["version", "built in", "one less", "one more"],
)
def test_what_is_more_makes_the_image_anew(now: TreeState) -> None:
    """Another version, other drivers inside the kernel, other modules; and a tree that nobody has seen."""
    assert compare(RECORD, now, never).anew
    assert compare(None, NOW, never).anew


def test_a_record_comes_back_from_its_bytes() -> None:
    """And a damaged one is none, whatever is wrong with it."""
    data = dump_record(RECORD)
    assert parse_record(data) == RECORD
    for damaged in (b"", b"[]", data[:-4], data.replace(b'"format": 1', b'"format": 9'), b'{"format": 1}'):
        assert parse_record(damaged) is None
    assert parse_record(data.replace(b"[1, 10,", b"[1,")) is None


PLAIN = FakeModule("aa", needs=["bb"], aliases=["pci:v1*"])


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (replace(PLAIN, vermagic="6.1.0-other "), True),
        (replace(PLAIN, parameters=["debug"]), True),
        (replace(PLAIN, aliases=["pci:v2*"]), False),
        (replace(PLAIN, needs=["cc"]), False),
        (replace(PLAIN, softdeps=["pre: cc"]), False),
        (replace(PLAIN, firmware=["x.bin"]), False),
        (replace(PLAIN, name="ab"), False),
    ],
    ids=["vermagic", "parameters", "alias", "needs", "softdep", "firmware", "exports"],
)
def test_the_indexes_hold_for_a_module_that_says_the_same(other: FakeModule, same: bool) -> None:
    """Aliases, dependencies, firmware and exported symbols stand in the indexes; the rest does not."""
    assert (index_facts(module_bytes(PLAIN)) == index_facts(module_bytes(other))) is same


def test_what_is_no_module_is_refused() -> None:
    """With an error of ours."""
    with pytest.raises(HostbuildError):
        index_facts(b"\x7fELF, and then nothing")
