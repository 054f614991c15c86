"""The NamedTuple of what the prolog loads, held against that of typing."""

from __future__ import annotations

import copy
import pickle
import sys
import typing
from collections.abc import Callable
from typing import Any, Optional

import pytest
from numa_align import light_typing


class Light(light_typing.NamedTuple):
    """A record of ours."""

    name: str
    size: int = 3
    note: Optional[str] = None

    @property
    def double(self) -> int:
        return self.size * 2


class Real(typing.NamedTuple):
    """The same by the standard library."""

    name: str
    size: int = 3
    note: Optional[str] = None

    @property
    def double(self) -> int:
        return self.size * 2


# Any: the calls that mypy would refuse are to be tried too.
SAME: dict[str, Callable[[Any], object]] = {
    "defaults": lambda kind: tuple(kind("a")),
    "by position": lambda kind: tuple(kind("a", 1, "n")),
    "by name": lambda kind: tuple(kind(note="n", name="a")),
    "fields": lambda kind: (kind("a").name, kind("a", 5).size, kind("a").note),
    "names of fields": lambda kind: kind._fields,
    "property": lambda kind: kind("a", 5).double,
    "text": lambda kind: repr(kind("a", 5)).partition("(")[2],
    "equal": lambda kind: (kind("a") == kind("a"), kind("a") == kind("b"), kind("a") == ("a", 3, None)),
    "hash": lambda kind: hash(kind("a")),
    "order": lambda kind: [tuple(one) for one in sorted([kind("b"), kind("a", 9), kind("a", 1)])],
    "unpacked": lambda kind: dict(zip("abc", (*kind("a"),))),
    "replaced": lambda kind: (type(kind("a")._replace(size=9)) is kind, tuple(kind("a")._replace(size=9))),
    "as dict": lambda kind: kind("a")._asdict(),
    "copied": lambda kind: (type(copy.deepcopy(kind("a"))) is kind, tuple(copy.copy(kind("a", 4)))),
    "pickled": lambda kind: tuple(pickle.loads(pickle.dumps([kind("a")]))[0]),
    "class when pickled": lambda kind: type(pickle.loads(pickle.dumps(kind("a")))) is kind,
    "inherited": lambda kind: tuple(type("Child", (kind,), {})("a", 7)),
    "matched": lambda kind: getattr(kind, "__match_args__", ()),
    "documented": lambda kind: kind.__doc__ is not None,
    "no dict": lambda kind: hasattr(kind("a"), "__dict__"),
}  # fmt: skip

REFUSED: dict[str, Callable[[Any], object]] = {
    "nothing": lambda kind: kind(),
    "too many": lambda kind: kind("a", 1, None, 4),
    "unknown name": lambda kind: kind("a", weight=1),
    "twice": lambda kind: kind("a", name="b"),
    "replaced unknown": lambda kind: kind("a")._replace(weight=1),
    "set": lambda kind: setattr(kind("a"), "size", 4),
    "set new": lambda kind: setattr(kind("a"), "weight", 4),
    "deleted": lambda kind: delattr(kind("a"), "size"),
}


@pytest.mark.parametrize("what", SAME)
def test_it_does_what_the_one_of_typing_does(what: str) -> None:
    if what == "matched" and sys.version_info < (3, 10):
        pytest.skip("match is of Python 3.10")
    assert SAME[what](Light) == SAME[what](Real)


@pytest.mark.parametrize("what", REFUSED)
def test_it_refuses_what_the_one_of_typing_refuses(what: str) -> None:
    with pytest.raises((TypeError, AttributeError, ValueError)) as real:
        REFUSED[what](Real)
    with pytest.raises((TypeError, AttributeError, ValueError)) as light:
        REFUSED[what](Light)
    assert (light.type is AttributeError) == (real.type is AttributeError)


def test_a_message_names_the_class_and_the_field() -> None:
    with pytest.raises(TypeError, match=r"Light\(\): no value for 'name'"):
        Light()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"Light\(\): no field 'weight'"):
        Light("a", weight=1)  # type: ignore[call-arg]
