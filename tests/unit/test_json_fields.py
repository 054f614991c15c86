"""JSON is read by the TypedDict by which it is written, and each of these has a name of its own."""

from __future__ import annotations

import ast
import json
from collections import Counter
from pathlib import Path
from typing import Literal, Optional, TypedDict

import pytest
from builder import Machine, on_nodes
from numa_align.audit.model import Sample, TaskSample, from_json, to_json
from numa_align.bench.as_json import read_local_and_remote
from numa_align.bench.as_json import to_json as bench_to_json
from numa_align.bench.host_memory import Cell
from numa_align.errors import AuditError, RequestError, TopologyError
from numa_align.json_fields import FieldError, read_fields
from numa_align.topology import as_json

ROOT = Path(__file__).resolve().parents[2]


class Part(TypedDict):
    word: Literal["a", "b"]
    row: tuple[str, Optional[int]]


class _Needed(TypedDict):
    number: int
    share: float
    parts: list[Part]


class Whole(_Needed, total=False):
    names: dict[str, Optional[str]]
    flag: bool


def whole(**changes: object) -> dict[str, object]:
    return {"number": 1, "share": 1, "parts": [{"word": "a", "row": ["x", None]}], **changes}


@pytest.mark.parametrize("more", [{}, {"names": {"a": None, "b": "c"}, "flag": True}, {"new": 1}])
def test_what_fits_is_read_as_it_is(more: dict[str, object]) -> None:
    data = json.loads(json.dumps(whole(**more)))
    fields = read_fields(Whole, data)
    assert fields == data and fields["parts"][0]["row"][1] is None


@pytest.mark.parametrize(
    ("data", "path"),
    [
        (None, "is None"),
        ([], "is []"),
        ({}, "number is missing"),
        (whole(number=True), "number is True"),
        (whole(number=1.0), "number is 1.0"),
        (whole(share="1"), "share is '1'"),
        (whole(parts={}), "parts is {}"),
        (whole(parts=[{"word": "c", "row": ["x", 1]}]), "parts[0].word is 'c'"),
        (whole(parts=[{"word": [], "row": ["x", 1]}]), "parts[0].word is []"),
        (whole(parts=[{"word": "a", "row": ["x"]}]), "parts[0].row is ['x']"),
        (whole(parts=[{"word": "a", "row": ["x", "y"]}]), "parts[0].row[1] is 'y'"),
        (whole(names={"a": 1}), "names.a is 1"),
        (whole(flag=None), "flag is None"),
    ],
)
def test_what_does_not_fit_is_named_by_its_path(data: object, path: str) -> None:
    with pytest.raises(FieldError) as error:
        read_fields(Whole, data)
    assert str(error.value) == path


TASK = TaskSample(1, "0", 0, "ann", ("a",), "0-3", "default", 1, 1, "aligned", None, None)


def written() -> dict[str, object]:
    data: dict[str, object] = json.loads(json.dumps(to_json(Sample("gpu01", 1.0, 8, (TASK,)))))
    return data


@pytest.mark.parametrize(("field", "value"), [("bytes", "many"), ("gpus", "abc"), ("user", 7), ("would", 1)])
def test_a_sample_with_a_field_of_another_type_is_refused(field: str, value: object) -> None:
    data = written()
    data["tasks"][0][field] = value  # type: ignore[index]
    with pytest.raises(AuditError, match=rf"^here: .*: tasks\[0\]\.{field} is "):
        from_json(data, "here")


def test_a_sample_may_have_fields_that_came_later() -> None:
    data = written()
    data["tasks"][0]["colour"] = "red"  # type: ignore[index]
    assert from_json(data, "here").tasks == (TASK,)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"uuid": null', '"uuid": 5', r"gpus\[0\].uuid is 5"),
        ('"node": 0', '"node": "0"', r"gpus\[0\].node is '0'"),
        ('"kind": "cpu"', '"kind": "cup"', r"nodes\[0\].kind is 'cup'"),
        ('"memory_nodes": [0]', '"memory_nodes": [null]', r"gpus\[0\].memory_nodes\[0\] is None"),
    ],
)
def test_a_machine_with_a_field_of_another_type_is_refused(old: str, new: str, said: str) -> None:
    text = as_json.to_json(Machine(gpus=on_nodes(0)).topology())
    assert old in text
    with pytest.raises(TopologyError, match=rf"^n1: does not describe a machine: {said}"):
        as_json.from_json(text.replace(old, new), "n1")


@pytest.mark.parametrize(
    ("field", "value"), [("bandwidth_gb_s", True), ("cpu_node", "0"), ("latency_ns", "")]
)
def test_a_measurement_with_a_field_of_another_type_is_refused(field: str, value: object) -> None:
    cells = [Cell(0, 0, 9.0, None), Cell(0, 1, 5.0, 90.0)]
    data = json.loads(json.dumps(bench_to_json(cells, [], [], 1.8, None)))
    assert read_local_and_remote(json.dumps(data)).loss == pytest.approx(4 / 9)
    data["memory"][1][field] = value
    with pytest.raises(RequestError, match=rf"memory\[1\]\.{field} is "):
        read_local_and_remote(json.dumps(data))


def test_every_typed_dict_has_a_name_of_its_own() -> None:
    classes = {}
    for folder in ("prolog/numa_align", "slurm-conf/numa_align_conf"):
        for path in (ROOT / folder).glob("**/*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef):
                    bases = {base.id for base in node.bases if isinstance(base, ast.Name)}
                    classes[path, node.name] = bases
    typed = {"TypedDict"}
    while True:
        more = {name for (_, name), bases in classes.items() if bases & typed} | {"TypedDict"}
        if more == typed:
            break
        typed = more
    counts = Counter(name for (_, name) in classes if name in typed)
    assert len(counts) > 20
    assert [name for name, count in counts.items() if count > 1] == []
