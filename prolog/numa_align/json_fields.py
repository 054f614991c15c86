"""Reads JSON as the TypedDict by which it is written, so that mypy checks readers as it checks writers."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from functools import cache
from itertools import repeat
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

_Fields = TypeVar("_Fields")
_Check = Callable[[object], None]

#: What json.loads makes of each type; a whole number will do for a float.
_EXACT: dict[object, frozenset[type]] = {
    bool: frozenset({bool}),
    int: frozenset({int}),
    float: frozenset({float, int}),
    str: frozenset({str}),
    type(None): frozenset({type(None)}),
}


class FieldError(ValueError):
    """A field is missing or wrong; the text begins with its path."""

    def __init__(self, path: str, what: str) -> None:
        """``path`` as in ``.gpus[2].node``."""
        super().__init__(f"{path.lstrip('.')} {what}".lstrip())
        self.path = path
        self.what = what

    def below(self, path: str) -> FieldError:
        """The same fault, seen from where ``path`` leads to it."""
        return FieldError(path + self.path, self.what)


def read_fields(kind: type[_Fields], data: object) -> _Fields:
    """``data``, which json.loads made, as this TypedDict; fields that it does not have are ignored.

    Raises FieldError.
    """
    _check_of(cast("Hashable", kind))(data)
    return cast("_Fields", data)


@cache
def _check_of(hint: Hashable) -> _Check:
    """The check of a type, made once: the samples of a cluster have a million fields."""
    if hint in _EXACT:
        return _exactly(_EXACT[hint])
    make = _MAKERS.get(get_origin(hint))
    return make(get_args(hint)) if make else _fields(hint)


def _exactly(types: frozenset[type]) -> _Check:
    def check(value: object) -> None:
        if type(value) not in types:
            raise _wrong(value)

    return check


def _wrong(value: object) -> FieldError:
    return FieldError("", f"is {value!r:.60}")


def _words(hints: tuple[Any, ...]) -> _Check:
    words = frozenset(hints)

    def check(value: object) -> None:
        if type(value) is not str or value not in words:
            raise _wrong(value)

    return check


def _one_of(hints: tuple[Any, ...]) -> _Check:
    """None, or the check of the rest: JSON has no other unions here."""
    rest = [hint for hint in hints if hint is not type(None)]
    if all(hint in _EXACT for hint in hints):
        return _exactly(frozenset().union(*(_EXACT[hint] for hint in hints)))
    inner = _check_of(rest[0])

    def check(value: object) -> None:
        if value is not None:
            inner(value)

    return check


def _elements(hints: tuple[Any, ...]) -> _Check:
    inner = _check_of(hints[0])

    def check(value: object) -> None:
        if not isinstance(value, list):
            raise _wrong(value)
        _check_each(zip(repeat(inner), value))

    return check


def _row(hints: tuple[Any, ...]) -> _Check:
    """A list of so many elements, each with a type of its own: json.loads makes no tuples."""
    inners = [_check_of(hint) for hint in hints]

    def check(value: object) -> None:
        if not isinstance(value, list) or len(value) != len(inners):
            raise _wrong(value)
        _check_each(zip(inners, value))

    return check


def _check_each(elements: Iterable[tuple[_Check, object]]) -> None:
    """The elements of a list, each by its check."""
    for number, (inner, element) in enumerate(elements):
        try:
            inner(element)
        except FieldError as error:
            raise error.below(f"[{number}]") from None


def _values(hints: tuple[Any, ...]) -> _Check:
    inner = _check_of(hints[1])

    def check(value: object) -> None:
        if not isinstance(value, dict):
            raise _wrong(value)
        for key, element in value.items():
            try:
                inner(element)
            except FieldError as error:
                raise error.below(f".{key}") from None

    return check


def _fields(kind: Any) -> _Check:
    checks = {name: _check_of(hint) for name, hint in get_type_hints(kind).items()}
    optional = kind.__optional_keys__

    def check(value: object) -> None:
        if not isinstance(value, dict):
            raise _wrong(value)
        for name, inner in checks.items():
            try:
                inner(value[name])
            except KeyError:
                if name not in optional:
                    raise FieldError(f".{name}", "is missing") from None
            except FieldError as error:
                raise error.below(f".{name}") from None

    return check


_MAKERS: dict[object, Callable[[tuple[Any, ...]], _Check]] = {
    Union: _one_of,
    Literal: _words,
    list: _elements,
    tuple: _row,
    dict: _values,
}
