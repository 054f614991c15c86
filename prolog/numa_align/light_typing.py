"""The parts of typing that the prolog's modules use, without its import.

Importing typing takes longer than starting Python (docs/decisions/prolog-imports.md). For mypy both names
are the real ones.
"""

__all__ = ["TYPE_CHECKING", "NamedTuple"]

TYPE_CHECKING = False  # mypy takes this name as true, wherever it is defined

if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from operator import itemgetter

    class _Fields(type):
        """Makes a tuple with named fields from an annotated class body."""

        def __new__(cls, name, bases, body):
            if bases and not hasattr(bases[0], "_fields"):  # not a class that inherits fields
                fields = tuple(body.get("__annotations__", ()))
                body["_fields"] = body["__match_args__"] = fields
                body["_defaults"] = {field: body[field] for field in fields if field in body}
                body.update((field, property(itemgetter(place))) for place, field in enumerate(fields))
            return super().__new__(cls, name, bases or (tuple,), {**body, "__slots__": ()})

    class NamedTuple(metaclass=_Fields):
        """typing.NamedTuple, as far as it is used here; tests/unit/test_light_typing.py compares the two."""

        def __new__(cls, *values, **named):
            """Take values by position, by name, or from defaults."""
            if named or len(values) != len(cls._fields):
                values = cls._all_values(values, named)
            return tuple.__new__(cls, values)

        @classmethod
        def _all_values(cls, values, named):
            open_fields = cls._fields[len(values) :]
            unknown = [name for name in named if name not in open_fields]
            if unknown or len(values) > len(cls._fields):
                what = f"no field {unknown[0]!r}, or it is there twice" if unknown else "too many values"
                raise TypeError(f"{cls.__name__}(): {what}")
            known = {**cls._defaults, **named}
            missing = [field for field in open_fields if field not in known]
            if missing:
                raise TypeError(f"{cls.__name__}(): no value for {missing[0]!r}")
            return (*values, *(known[field] for field in open_fields))

        def _asdict(self):
            return dict(zip(self._fields, self))

        def _replace(self, **changed):
            return type(self)(**{**self._asdict(), **changed})

        def __getnewargs__(self):
            """Support copy and pickle."""
            return tuple(self)

        def __repr__(self):
            """Return the value as it would be written in a program."""
            pairs = ", ".join(f"{name}={value!r}" for name, value in zip(self._fields, self))
            return f"{type(self).__name__}({pairs})"
