"""Stand-ins for `enum.Enum` and `typing.NamedTuple` that cost the boot path nothing to import.

Measured in the guest's interpreter (python3.11 -I -S, instructions by callgrind, 1 M = 1 ms of guest time):
`import enum` 16.5 M, `from typing import NamedTuple` 38 M, this module 0.3 M. A type checker sees the real
ones; at run time the classes below give what the daemon uses of them:

- `Record`: a tuple with named fields and defaults, `_replace`, `_fields`, `_asdict`, a repr.
- `Choice`: named singletons compared with `is`, each with `.name` and `.value`; iterable, callable by value.
"""

from __future__ import annotations

TYPE_CHECKING = False

if TYPE_CHECKING:
    from enum import Enum as Choice
    from typing import NamedTuple as Record
else:
    from _collections import _tuplegetter

    class _RecordMeta(type):
        def __new__(mcs, name, bases, body):
            """Make the class `name`: a tuple subclass whose annotations are its fields, in order."""
            if not bases:
                return super().__new__(mcs, name, (tuple,), body)
            fields = tuple(body.get("__annotations__", ()))
            defaults = {field: body.pop(field) for field in fields if field in body}
            required = fields[: len(fields) - len(defaults)]
            if any(field in defaults for field in required):
                raise TypeError(f"{name}: a field without a default follows one with a default")
            for index, field in enumerate(fields):
                body[field] = _tuplegetter(index, f"field {index}")
            body |= {
                "__slots__": (),
                "_fields": fields,
                "__match_args__": fields,
                "_field_defaults": defaults,
            }
            body["__new__"] = _constructor(name, fields, defaults)
            return super().__new__(mcs, name, bases, body)

    def _constructor(name, fields, defaults):
        """A `__new__` with one parameter a field, compiled once, as fast as a call can be in CPython."""
        parameters = ", ".join(f"{f}=_defaults[{f!r}]" if f in defaults else f for f in fields)
        values = ", ".join(fields) + ("," if len(fields) == 1 else "")
        scope = {"_defaults": defaults, "_new": tuple.__new__}
        exec(f"def __new__(_cls, {parameters}): return _new(_cls, ({values}))", scope)  # noqa: S102
        constructor = scope["__new__"]
        constructor.__qualname__ = f"{name}.__new__"
        return constructor

    class Record(metaclass=_RecordMeta):
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

    class _ChoiceMeta(type):
        def __new__(mcs, name, bases, body):
            """Make the class `name`, each plain attribute of its body becoming a member."""
            plain = {k: v for k, v in body.items() if not k.startswith("_") and isinstance(v, (str, int))}
            cls = super().__new__(mcs, name, bases, {k: v for k, v in body.items() if k not in plain})
            cls._members = {}
            for key, value in plain.items():
                member = object.__new__(cls)
                member.name = key
                member.value = value
                cls._members[value] = member
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

    class Choice(metaclass=_ChoiceMeta):
        def __repr__(self):
            return f"<{type(self).__name__}.{self.name}: {self.value!r}>"

        def __reduce__(self):
            return type(self), (self.value,)


__all__ = ["Choice", "Record"]
