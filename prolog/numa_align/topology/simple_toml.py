"""The subset of TOML that override files use, for Python 3.9 and 3.10, which have no parser.

``[[name]]``, and ``key = value`` with a string without escapes, a decimal integer, or true
or false as the value; comments and blank lines. What is accepted means the same as in TOML (toml.io, version
1.0); the rest of TOML is refused with the number of the line.
"""

from __future__ import annotations

from typing import Union

Value = Union[str, int, bool]

_KEY = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
_MAX_DIGITS = 18


def loads(text: str) -> dict[str, object]:
    """Parse the document. Raises ValueError."""
    document: dict[str, object] = {}
    table: dict[str, object] = document
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        words = line.strip(" \t")
        if not words or words.startswith("#"):
            _printable(words, number)
        elif words.startswith("[["):
            table = _new_table(document, words, number)
        else:
            _pair(table, words, number)
    return document


def _new_table(document: dict[str, object], words: str, number: int) -> dict[str, object]:
    name, close, rest = words[2:].partition("]]")
    name = name.strip(" \t")
    tables = document.setdefault(name, [])
    if not close or not _is_key(name) or not isinstance(tables, list):
        raise ValueError(f"{words[:40]!r} heads no table (line {number})")
    _end(rest, number)
    table: dict[str, object] = {}
    tables.append(table)
    return table


def _pair(table: dict[str, object], words: str, number: int) -> None:
    key, equals, rest = words.partition("=")
    key = key.strip(" \t")
    if not equals or not _is_key(key):
        raise ValueError(f"{words[:40]!r} is no pair of a key and a value (line {number})")
    if key in table:
        raise ValueError(f"{key} is there twice (line {number})")
    table[key] = _value(rest.strip(" \t"), number)


def _is_key(text: str) -> bool:
    return bool(text) and _KEY.issuperset(text)


def _value(text: str, number: int) -> Value:
    if text[:1] in ("'", '"'):
        quote = text[0]
        value, close, rest = text[1:].partition(quote)
        if not close or rest.startswith(quote) or (quote == '"' and "\\" in value):
            raise ValueError(f"{text[:40]!r} is no string of one line without escapes (line {number})")
        _printable(value, number)
        _end(rest, number)
        return value
    word, _, rest = text.partition("#")
    _printable(rest, number)
    word = word.rstrip(" \t")
    if word in ("true", "false"):
        return word == "true"
    digits = word[1:] if word[:1] in ("+", "-") else word
    plain = digits.isascii() and digits.isdigit() and len(digits) <= _MAX_DIGITS
    if not plain or (digits[0] == "0" and len(digits) > 1):
        raise ValueError(f"{word[:40]!r} is neither a string in quotes nor a whole number (line {number})")
    return int(word)


def _end(rest: str, number: int) -> None:
    """Accept nothing but a comment."""
    rest = rest.strip(" \t")
    if rest and not rest.startswith("#"):
        raise ValueError(f"{rest[:40]!r} stands behind a value (line {number})")
    _printable(rest, number)


def _printable(text: str, number: int) -> None:
    if any((character < " " and character != "\t") or character == "\x7f" for character in text):
        raise ValueError(f"a control character is in line {number}")
