"""The words after the plugin's path in plugstack.conf, as the plugin itself reads them (spank/site.c)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Optional

from numa_align.errors import ClaimError, SpecError
from numa_align.names import SITE_WORDS
from numa_align.placement.claim import read_spec, spec_words

from .model import Facts, Finding, Plugin

_LISTS = tuple(word for word in SITE_WORDS if word.endswith("="))


def words(facts: Facts) -> Iterator[Finding]:
    """Words that the plugin does not know: it then ignores the site's ``on``, and says so in the logs."""
    for entry in facts.plugins:
        try:
            faults = [(word, *fault) for word in _words(entry) if (fault := _fault(word)) is not None]
        except ClaimError:
            return  # the only parser, the compiled one, is not installed here
        on = "on" in _words(entry)
        for word, meant, valid in faults:
            right = " ".join(entry.words).replace(word, meant) if meant else None
            yield Finding(
                "plugin-words",
                "fail",
                f"{entry.place}: the plugin has no word {word!r}",
                "the site's `on` is ignored: only jobs that ask for it are aligned"
                if on
                else "slurmd complains at each start, and the word has no effect",
                f"{entry.place}: optional {entry.path} {right}"
                if right
                else f"{entry.place}: one of {valid}",
            )


def _words(entry: Plugin) -> Iterator[str]:
    for argument in entry.words:
        yield from (word for word in argument.split(",") if word)


def _fault(word: str) -> Optional[tuple[Optional[str], str]]:
    """The word that was probably meant, if any, and the valid words; None for a valid word."""
    if word in SITE_WORDS or word.startswith(_LISTS):
        return None
    try:
        read_spec(word, request=False)
    except SpecError as error:
        valid = f"{spec_words()}, {', '.join(SITE_WORDS)}"
        key, equals, value = word.partition("=")
        like = get_close_matches(key + equals, SITE_WORDS, 1)
        if like:
            return like[0] + value, valid
        quoted = re.search(r'did you mean "([^"]*)"', str(error))
        return (quoted[1] if quoted else None), valid
    return None
