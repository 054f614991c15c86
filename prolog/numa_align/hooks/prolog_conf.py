"""The site's settings for the job prolog: ``/etc/numa-align/prolog.conf``.

Lines ``KEY=VALUE``; blank lines and lines that begin with ``#`` are ignored. The only key is ``room``.
"""

from __future__ import annotations

import os

from ..errors import NumaAlignError, SpecError
from ..light_typing import TYPE_CHECKING, NamedTuple
from ..process.room import Room, parse_room
from ..sysfs import read_text

if TYPE_CHECKING:
    from typing import Optional


class PrologConf(NamedTuple):
    """What the site wants the prolog to do besides writing the table; None where it says nothing."""

    room: Optional[Room] = None


def read_prolog_conf(path: str) -> PrologConf:
    """The site's settings; without the file, none.

    Raises NumaAlignError that names the file and the word: a file that is not understood has no effect.
    """
    if not os.path.lexists(path):
        return PrologConf()
    text = read_text(path)
    if text is None:
        raise NumaAlignError(f"{path} cannot be read, or is too large")
    room = None
    for line in text.splitlines():
        words = line.partition("#")[0].strip()
        if not words:
            continue
        key, _, value = (part.strip() for part in words.partition("="))
        if key != "room":
            raise NumaAlignError(f'{path}: unknown key "{key[:40]}"; the only key is room=')
        try:
            room = parse_room(value)
        except SpecError as error:
            raise NumaAlignError(f"{path}: {error}") from None
    return PrologConf(room)
