"""bind_local_rank and worker_init in real processes, by the kernel's word."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs")

#: A program as users write it: its top level binds, and children that are not forked run that again.
PROGRAM = """
import json, multiprocessing, os, sys
import numa_align

binding = numa_align.bind_local_rank()

def look(queue, generations):
    queue.put((sorted(os.sched_getaffinity(0)), os.environ["NUMA_ALIGN_STATE"]))
    if generations:
        start(queue, generations - 1)

def start(queue, generations):
    child = multiprocessing.get_context(sys.argv[1]).Process(target=look, args=(queue, generations))
    child.start()
    child.join()

if __name__ == "__main__":
    queue = multiprocessing.get_context(sys.argv[1]).Queue()
    start(queue, 0)
    start(queue, 1)
    children = [queue.get(timeout=60) for _ in range(3)]
    print(json.dumps({"own": sorted(os.sched_getaffinity(0)), "said": binding.cpus, "children": children}))
"""

#: A fork server that was started before anything was bound: it has the old CPUs, policy and environment.
LATE = """
import json, multiprocessing, multiprocessing.forkserver, os, sys
import numa_align

def look(queue):
    from numa_align.process.affinity import read_policy
    before = sorted(os.sched_getaffinity(0))
    numa_align.worker_init(0)
    queue.put((before, sorted(os.sched_getaffinity(0)), read_policy()[0]))

if __name__ == "__main__":
    multiprocessing.forkserver.ensure_running()
    numa_align.bind_local_rank(0, 2)
    context = multiprocessing.get_context("forkserver")
    queue = context.Queue()
    child = context.Process(target=look, args=(queue,))
    child.start()
    before, after, policy = queue.get(timeout=60)
    child.join()
    print(json.dumps({"own": sorted(os.sched_getaffinity(0)), "before": before, "after": after,
                      "policy": policy}))
"""


def python(
    tmp_path: Path, program: str, *arguments: str, prefix: tuple[str, ...] = (), more: Mapping[str, str] = {}
) -> Any:
    (tmp_path / "program.py").write_text(program)
    foreign = ("NUMA_ALIGN", "SLURM_", "LOCAL_", "OMPI_", "PMI")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    result = subprocess.run(
        [*prefix, sys.executable, "program.py", *arguments],
        cwd=tmp_path,
        env={**environment, **more},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1]), result.stderr


RUN = (sys.executable, "-m", "numa_align", "run")


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
@pytest.mark.parametrize("prefix", [(), RUN], ids=["alone", "run"])
def test_children_that_rerun_the_top_level_keep_their_placement(
    tmp_path: Path, method: str, prefix: tuple[str, ...]
) -> None:
    """On two CPUs a second division leaves nothing to divide; test_decide has the large machines."""
    numbers = {"LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
    seen, errors = python(tmp_path, PROGRAM, method, prefix=prefix, more=numbers)
    assert len(seen["own"]) < len(os.sched_getaffinity(0)) and seen["said"] == seen["own"]
    assert seen["children"] == [[seen["own"], "aligned"]] * 3, "two children and a grandchild"
    assert "RuntimeWarning" not in errors


def test_a_worker_of_an_old_fork_server_asks_its_parent(tmp_path: Path) -> None:
    seen, _ = python(tmp_path, LATE)
    assert seen["before"] == sorted(os.sched_getaffinity(0)), "the server was started too late to show it"
    assert seen["after"] == seen["own"] != seen["before"]
    if Path("/sys/devices/system/node").exists():
        assert seen["policy"] != "default"


def call(arguments: str, tmp_path: Path, **more: str) -> tuple[Any, str]:
    program = f"""
import json, numa_align, os
bound = numa_align.bind_local_rank({arguments})
print(json.dumps([bound and bound.cpus, sorted(os.sched_getaffinity(0))]))
"""
    (said, own), errors = python(tmp_path, program, more=more)
    assert said in (None, own)
    return said, errors


@pytest.mark.parametrize("arguments", ["'0', '2'", "0, 2", "True, 2"])
def test_numbers_may_be_what_the_environment_gives(arguments: str, tmp_path: Path) -> None:
    cpus, errors = call(arguments, tmp_path)
    assert len(cpus) < len(os.sched_getaffinity(0)) and errors == ""


@pytest.mark.parametrize(
    ("arguments", "more", "says"),
    [
        ("'x', '2'", {}, "local_rank is 'x' and should be a number; nothing is bound"),
        ("1.5, 2", {}, "local_rank is '1.5' and should be a number; nothing is bound"),
        ("", {"LOCAL_RANK": "x"}, "LOCAL_RANK is 'x' and should be a number"),
        ("0, 2", {"NUMA_ALIGN": "strikt,mem=bind"}, "NUMA_ALIGN in the environment is ignored: unknown word"),
    ],
)
def test_what_is_wrong_is_one_warning_at_the_callers_line(
    arguments: str, more: dict[str, str], says: str, tmp_path: Path
) -> None:
    _, errors = call(arguments, tmp_path, **more)
    assert errors.count("RuntimeWarning") == 1 and says in errors
    assert f"{tmp_path}/program.py:3" in errors or "program.py:3" in errors


def test_strict_in_python_needs_a_gpu(tmp_path: Path) -> None:
    program = """
import json, numa_align
try:
    numa_align.bind_local_rank(spec="strict")
except Exception as error:
    print(json.dumps([type(error).__name__, str(error)]))
else:
    print(json.dumps(["", ""]))
"""
    (kind, text), _ = python(tmp_path, program)
    topology = json.loads(
        subprocess.run([*RUN[:3], "topo", "--json"], capture_output=True, text=True, check=True).stdout
    )
    if not topology["gpus"]:
        assert kind == "BindError" and "no GPU is visible" in text


def test_help_shows_what_the_package_is_for() -> None:
    text = subprocess.run(
        [sys.executable, "-c", "import numa_align; help(numa_align)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "bind_local_rank(" in text and "worker_init(" in text
    assert "A process that is already placed" in text
