"""The stand-ins behave as the classes that the type checker takes them for."""

import pickle
from typing import Any

import pytest

from modaliasd.core.fasttypes import Enum, NamedTuple


class Point(NamedTuple):
    """A record with a default."""

    x: int
    y: int = 5


class Colour(Enum):
    """A closed choice."""

    RED = "red"
    BLUE = "blue"


def test_record_is_a_tuple_with_names() -> None:
    """Fields come by name and by position, defaults fill in, and equality is a tuple's."""
    point = Point(1)
    assert (point.x, point.y) == (1, 5) == point
    assert Point(y=2, x=1) == (1, 2)
    assert point._replace(x=7) == Point(7, 5)
    assert point._asdict() == {"x": 1, "y": 5}
    assert repr(point) == "Point(x=1, y=5)"
    assert pickle.loads(pickle.dumps(point)) == point


def test_record_refuses_what_a_named_tuple_refuses() -> None:
    """A missing or an unknown field is a TypeError; a field cannot be set."""
    with pytest.raises(TypeError):
        Point()  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Point(1, z=2)  # type: ignore[call-arg]
    with pytest.raises(AttributeError):
        Point(1).x = 2  # type: ignore[misc]


def test_every_record_has_its_own_constructor() -> None:
    """Records with as many fields share no names and no defaults."""

    class Size(NamedTuple):
        width: int
        height: int = 9

    assert Size(width=1) == (1, 9)
    assert Point(x=1) == (1, 5)
    assert Size.__new__.__qualname__.endswith("Size.__new__")


def test_choice_members_are_singletons() -> None:
    """A member is found by its value, always the same object; unknown values are refused."""
    assert Colour("red") is Colour.RED
    assert [member.name for member in Colour] == ["RED", "BLUE"]
    assert Colour.BLUE.value == "blue"
    assert pickle.loads(pickle.dumps(Colour.RED)) is Colour.RED
    with pytest.raises(ValueError, match="'green' is not a valid Colour"):
        Colour("green")


def test_a_record_that_cannot_be_one_is_refused() -> None:
    """A field without a default behind one with, as typing's refuses it; and more fields than it can have."""
    make: Any = type(NamedTuple)
    with pytest.raises(TypeError, match="a field without a default follows"):
        make("Bad", (NamedTuple,), {"__annotations__": {"x": "int", "y": "int"}, "x": 1})
    many = {f"field{number}": "int" for number in range(100)}
    with pytest.raises(TypeError, match="100 fields, and a NamedTuple has at most"):
        make("Large", (NamedTuple,), {"__annotations__": many})
