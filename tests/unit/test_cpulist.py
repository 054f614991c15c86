"""The kernel's list and mask formats, read and written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from numa_align.cpulist import LIMIT, format_cpulist, format_cpumap, parse_cpulist, parse_cpumap

sets_of_cpus = st.sets(st.integers(0, 2047), max_size=300)


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("", ()),
        ("\n", ()),
        ("0", (0,)),
        ("0-3\n", (0, 1, 2, 3)),
        ("8,0-1", (0, 1, 8)),
        ("0-3,2-5", (0, 1, 2, 3, 4, 5)),
        ("0-7:2/4", (0, 1, 4, 5)),
        ("0,2-4", (0, 2, 3, 4)),
        ("0-1 4\t6", (0, 1, 4, 6)),
    ],
)
def test_a_list_is_read_as_the_kernel_reads_it(text: str, cpus: tuple[int, ...]) -> None:
    assert parse_cpulist(text) == cpus


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "1-",
        "-1",
        "3-1",
        "1--2",
        "+1",
        "1_0",
        "٣",
        "0-4294967295",
        str(LIMIT),
        "1:1/2",
        "0-3:3/2",
        "0-3:0/2",
    ],
)
def test_what_is_no_list_is_an_error_that_names_the_piece(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a|out of range|runs backwards"):
        parse_cpulist(text)


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("", ()),
        ("00000000,00000000\n", ()),
        ("f", (0, 1, 2, 3)),
        ("00000001,00000003\n", (0, 1, 32)),
        ("80000000,00000000,00000001", (0, 95)),
    ],
)
def test_a_mask_is_read_with_the_most_significant_word_first(text: str, cpus: tuple[int, ...]) -> None:
    assert parse_cpumap(text) == cpus


@pytest.mark.parametrize(
    "text", ["g", "0x1", "123456789", "1,,1", "1,", "-1", "1_1", "1," * (LIMIT // 32) + "1"]
)
def test_what_is_no_mask_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="CPU mask"):
        parse_cpumap(text)


@given(sets_of_cpus)
def test_what_is_written_as_a_list_is_read_back(cpus: set[int]) -> None:
    assert parse_cpulist(format_cpulist(cpus)) == tuple(sorted(cpus))


@given(sets_of_cpus)
def test_what_is_written_as_a_mask_is_read_back(cpus: set[int]) -> None:
    assert parse_cpumap(format_cpumap(cpus)) == tuple(sorted(cpus))


@given(sets_of_cpus)
def test_a_written_list_is_the_shortest_one(cpus: set[int]) -> None:
    regions = [region for region in format_cpulist(cpus).split(",") if region]
    starts = [cpu for cpu in cpus if cpu - 1 not in cpus]
    assert len(regions) == len(starts)


@given(st.text(max_size=60))
def test_any_text_is_read_or_is_a_value_error(text: str) -> None:
    for parse in (parse_cpulist, parse_cpumap):
        try:
            assert all(0 <= cpu < LIMIT for cpu in parse(text))
        except ValueError as error:
            assert "\n" not in str(error)
