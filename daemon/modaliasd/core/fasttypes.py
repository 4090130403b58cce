"""Stand-ins for `enum.Enum` and `typing.NamedTuple` that cost the boot path nothing to import.

Measured in the guest's interpreter (python3.11 -S, instructions by callgrind, 1 M = 1 ms of guest time): `import enum`
16.5 M, `from typing import NamedTuple` 38 M, this module 0.3 M. Constructors made by `exec`, as NamedTuple makes them,
would be 6.9 M more: 22.6 M for the daemon's imports in place of 15.7 M. A type checker sees the real ones; at run time
the classes below give what the daemon uses of them:

- `NamedTuple`: a tuple with named fields and defaults, `_replace`, `_fields`, `_asdict`, a repr.
- `Enum`: named singletons compared with `is`, each with `.name` and `.value`; iterable, callable by value.
"""

from __future__ import annotations

TYPE_CHECKING = False

if TYPE_CHECKING:
    from enum import Enum
    from typing import NamedTuple
else:
    from _collections import _tuplegetter

    _make_class = type.__new__

    class _RecordMeta(type):
        def __new__(mcs, name, bases, body):
            """Make the class `name`: a tuple subclass whose annotations are its fields, in order."""
            if not bases:
                return _make_class(mcs, name, (tuple,), body)
            # an image's boot path has both in its text (hostbuild's bootpath/records.py)
            if "_fields" not in body:
                body["_fields"], defaults = _fields_of(name, body)
                body["__new__"] = _constructor(name, body["_fields"], defaults)
            body["__slots__"] = ()
            body.update(zip(body["_fields"], _GETTERS, strict=False))
            return _make_class(mcs, name, bases, body)

    def _fields_of(name, body):
        """Return the names of the fields that a class's body declares, and the defaults of the last ones."""
        fields = tuple(body.get("__annotations__", ()))
        defaults = []
        for field in fields:
            if field in body:
                defaults.append(body[field])
            elif defaults:
                raise TypeError(f"{name}: a field without a default follows one with a default")
        return fields, tuple(defaults)

    _new = tuple.__new__
    _NAMES = {"_new": _new}  # what is global in them
    _MOST = 15  # fields of a record
    # A constructor for each number of fields. A record's own one has the same bytecode with other names.
    _CONSTRUCTORS = (
        lambda _cls: _new(_cls, ()),
        lambda _cls, a: _new(_cls, (a,)),
        lambda _cls, a, b: _new(_cls, (a, b)),
        lambda _cls, a, b, c: _new(_cls, (a, b, c)),
        lambda _cls, a, b, c, d: _new(_cls, (a, b, c, d)),
        lambda _cls, a, b, c, d, e: _new(_cls, (a, b, c, d, e)),
        lambda _cls, a, b, c, d, e, f: _new(_cls, (a, b, c, d, e, f)),
        lambda _cls, a, b, c, d, e, f, g: _new(_cls, (a, b, c, d, e, f, g)),
        lambda _cls, a, b, c, d, e, f, g, h: _new(_cls, (a, b, c, d, e, f, g, h)),
        lambda _cls, a, b, c, d, e, f, g, h, i: _new(_cls, (a, b, c, d, e, f, g, h, i)),
        lambda _cls, a, b, c, d, e, f, g, h, i, j: _new(_cls, (a, b, c, d, e, f, g, h, i, j)),
        lambda _cls, a, b, c, d, e, f, g, h, i, j, k: _new(_cls, (a, b, c, d, e, f, g, h, i, j, k)),
        lambda _cls, a, b, c, d, e, f, g, h, i, j, k, m: _new(_cls, (a, b, c, d, e, f, g, h, i, j, k, m)),
        lambda _cls, a, b, c, d, e, f, g, h, i, j, k, m, n: _new(
            _cls, (a, b, c, d, e, f, g, h, i, j, k, m, n)
        ),
        lambda _cls, a, b, c, d, e, f, g, h, i, j, k, m, n, o: _new(
            _cls, (a, b, c, d, e, f, g, h, i, j, k, m, n, o)
        ),
        lambda _cls, a, b, c, d, e, f, g, h, i, j, k, m, n, o, p: _new(
            _cls, (a, b, c, d, e, f, g, h, i, j, k, m, n, o, p)
        ),
    )
    _function = type(lambda: None)
    # What gives a record's field by its place; the same for all of them.
    _GETTERS = tuple([_tuplegetter(place, None) for place in range(_MOST)])

    def _constructor(name, fields, defaults):
        """Return a `__new__` with a parameter for each field, as fast as calls are in CPython; `exec` would be slow."""
        if len(fields) > _MOST:
            raise TypeError(f"{name}: {len(fields)} fields, and a NamedTuple has at most {_MOST}")
        code = _CONSTRUCTORS[len(fields)].__code__
        code = code.replace(co_varnames=("_cls", *fields), co_name="__new__", co_qualname=f"{name}.__new__")
        return _function(code, _NAMES, "__new__", defaults)

    class NamedTuple(metaclass=_RecordMeta):
        __slots__ = ()

        def _asdict(self):
            return dict(zip(self._fields, self, strict=True))

        def _replace(self, **changes):
            values = self._asdict() | changes
            return type(self)(**values)

        def __getnewargs__(self):
            return tuple(self)

        def __repr__(self):
            inside = ", ".join(f"{field}={value!r}" for field, value in zip(self._fields, self, strict=True))
            return f"{type(self).__name__}({inside})"

    _blank = object.__new__

    class _ChoiceMeta(type):
        def __new__(mcs, name, bases, body):
            """Make the class `name`, each plain attribute of its body becoming a member."""
            members = {}
            cls = _make_class(mcs, name, bases, body)
            cls._members = members
            for key, value in body.items():
                if key[0] != "_" and isinstance(value, (str, int)):
                    member = _blank(cls)
                    member.name = key
                    member.value = value
                    members[value] = member
                    setattr(cls, key, member)
            return cls

        def __iter__(cls):
            return iter(cls._members.values())

        def __len__(cls):
            return len(cls._members)

        def __call__(cls, value):
            try:
                return cls._members[value]
            except KeyError:
                raise ValueError(f"{value!r} is not a valid {cls.__name__}") from None

    class Enum(metaclass=_ChoiceMeta):
        def __repr__(self):
            return f"<{type(self).__name__}.{self.name}: {self.value!r}>"

        def __reduce__(self):
            return type(self), (self.value,)


__all__ = ["Enum", "NamedTuple"]
