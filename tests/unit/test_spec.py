"""The words of --numa-align: what each does, and that an unknown one is named with those that exist."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from numa_align.errors import SpecError
from numa_align.names import CPUS_WORDS, MEM_WORDS, SPEC_VALUES, SPEC_WORDS
from numa_align.placement.claim import Spec, read_spec, spec_help, spec_words

ON = Spec(on=True)
WORDS = [
    "on",
    "off",
    "strict",
    "verbose",
    "help",
    "smt=on",
    "smt=off",
    "tell=on",
    "tell=off",
    "nic",
    "nic=on",
    "nic=off",
]
WORDS += ["steps=gpus", "steps=all"]
WORDS += [f"mem={word}" for word in MEM_WORDS] + [f"cpus={word}" for word in CPUS_WORDS]


@pytest.mark.parametrize("text", [None, "", "(null)", "on"])
def test_option_without_value_means_on(text: str | None) -> None:
    assert read_spec(text) == ON


@pytest.mark.parametrize("text", [None, "", "(null)"])
def test_setting_without_value_changes_nothing(text: str | None) -> None:
    assert read_spec(text, request=False) == Spec()


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("off", Spec()),
        ("strict", replace(ON, strict=True)),
        ("verbose", replace(ON, verbose=True)),
        ("smt=off", replace(ON, smt=False)),
        ("tell=off", replace(ON, tell=False)),
        ("nic", replace(ON, nic=True)),
        ("nic=on", replace(ON, nic=True)),
        ("nic=on,nic=off", ON),
        ("steps=all", replace(ON, all_steps=True)),
        ("help", replace(ON, help=True)),
        ("mem=interleave,cpus=node,strict", replace(ON, mem="interleave", cpus="node", strict=True)),
        ("mem=bind,mem=local", replace(ON, mem="local")),
        ("off,on", ON),
    ],
)
def test_words_mean_what_they_say_and_the_last_wins(text: str, spec: Spec) -> None:
    assert read_spec(text) == spec


def test_what_is_not_said_stays_as_it_was() -> None:
    base = Spec(on=False, mem="bind", smt=False)
    assert read_spec("cpus=all", base=base) == replace(base, on=True, cpus="all")
    assert read_spec("cpus=all", base=base, request=False) == replace(base, cpus="all")


@pytest.mark.parametrize(
    "text", ["of", "ON", "mem", "mem=", "mem=near", "smt=1", "on,,off", ",", "on,", " on", "cpus=slice "]
)
def test_unknown_word_is_refused_with_the_list_of_words(text: str) -> None:
    with pytest.raises(SpecError) as caught:
        read_spec(text)
    bad = next(word for word in text.split(",") if word not in WORDS)
    assert f'"{bad}"' in str(caught.value) and spec_words() in str(caught.value)


@pytest.mark.parametrize("text", ["x" * 2000, "on," * 400 + "on", "\x1b[2Jmem", "\udcff", "on\0off"])
def test_hostile_text_is_refused_in_one_printable_line(text: str) -> None:
    with pytest.raises(SpecError) as caught:
        read_spec(text)
    assert len(str(caught.value)) < 400 and str(caught.value).isprintable()


def test_help_explains_every_word() -> None:
    for word in re.split(r", |\|", spec_words()):
        assert word.rpartition("=")[2] in spec_help()
    for word in WORDS:
        assert read_spec(word) is not None


@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=20))
def test_any_list_of_known_words_is_taken(words: list[str]) -> None:
    assert read_spec(",".join(words)).mem in MEM_WORDS


@given(st.text(max_size=60))
def test_any_text_is_taken_or_refused(text: str) -> None:
    known = text in ("", "(null)") or all(word in WORDS for word in text.split(","))
    try:
        read_spec(text)
    except SpecError:
        assert not known
    else:
        assert known


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("strcit", "strict"), ("mem=bnid", "mem=bind"), ("mem=intreleave", "mem=interleave"), ("offf", "off"),
        ("on,cpu=node", "cpus=node"), ("verbos", "verbose"), ("mem-local", "mem=local"),
    ],
)  # fmt: skip
def test_a_mistyped_word_gets_the_word_that_was_meant(text: str, meant: str) -> None:
    with pytest.raises(SpecError, match=rf'did you mean "{meant}"\?'):
        read_spec(text)


@pytest.mark.parametrize("text", ["x", "nonsense", "dry", "mem"])
def test_what_is_like_nothing_gets_no_guess(text: str) -> None:
    with pytest.raises(SpecError) as caught:
        read_spec(text)
    assert "did you mean" not in str(caught.value)


def test_help_and_completion_have_the_words_of_the_parser() -> None:
    parts = (*SPEC_WORDS, *(f"{key}={'|'.join(values)}" for key, values in SPEC_VALUES.items()))
    assert set(parts) == set(spec_words().split(", "))
