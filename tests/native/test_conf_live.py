"""The running Slurm's report of a node means the same in each of its formats."""

from __future__ import annotations

import json

import pytest
from numa_align.slurm_files.hostlist import expand, fold
from unit.test_installed import GOOD

from native import Native

from .asking import has_plugin

#: Run where numa-align is installed, as its command would; a form that this Slurm cannot print is null.
ASK = """
import dataclasses, json, sys
sys.path.insert(0, "/usr/lib/numa-align/python")
from numa_align_conf import live
forms = {name: getattr(live, "_by_" + name)(sys.argv[1]) for name in ("pyslurm", "json", "text")}
print(json.dumps({name: found and dataclasses.asdict(found) for name, found in forms.items()}))
"""


def asked(native: Native, node: str) -> dict[str, dict[str, object] | None]:
    found: dict[str, dict[str, object] | None] = json.loads(
        native.run(["python3", "-c", ASK, node], user="user", check=True).stdout
    )
    return found


def test_all_forms_say_the_same_of_a_node(native: Native) -> None:
    found = asked(native, "node1")
    said = found["text"]
    assert said is not None
    shape = (native.topology.packages, native.topology.cores_per_node, native.topology.threads)
    assert (said["sockets"], said["cores_per_socket"], said["threads"]) == shape
    assert (found["pyslurm"] is not None) == (names_of_pyslurm(native) is not None)
    # In Debian's 22.05 scontrol has no JSON, and PyPI has pyslurm for 25.11 only.
    has_json = native.slurm != "22.05" and has_plugin(native, "serializer_json")
    assert (found["json"] is not None) == has_json
    others = [form for name, form in found.items() if name != "text" and form is not None]
    assert [{**form, "source": "scontrol"} for form in others] == [said] * len(others)


#: What the real module's class of nodes has, if it is there and built for this release.
NAMES = """
import importlib.metadata, json, sys
try:
    version = importlib.metadata.version("pyslurm")
except importlib.metadata.PackageNotFoundError:
    version = ""
if not version.startswith(sys.argv[1]):
    print(json.dumps(None))
else:
    import pyslurm
    kinds = [type(getattr(pyslurm.Node.load(sys.argv[2]), name)).__name__ for name in sys.argv[3:]]
    print(json.dumps([dir(pyslurm.Node), kinds]))
"""


def names_of_pyslurm(native: Native, *attributes: str) -> tuple[list[str], list[str]] | None:
    """All names of its class of nodes, and what some attributes of node1 are; None without a pyslurm."""
    words = ["python3", "-c", NAMES, native.slurm, "node1", *attributes]
    names = json.loads(native.run(words, user="user", check=True).stdout)
    return None if names is None else (names[0], names[1])


def test_the_fake_of_pyslurm_has_what_the_real_one_has(native: Native) -> None:
    """pyslurm.Node of tests/unit/test_installed.py, which tests without Slurm ask."""
    module: dict[str, type] = {}
    exec(GOOD, module)
    fake = {name: kind for name, kind in vars(module["Node"]).items() if not name.startswith("_")}
    numbers = [name for name in fake if name != "load"]
    found = names_of_pyslurm(native, *numbers)
    if found is None:
        pytest.skip(f"there is no pyslurm for Slurm {native.slurm} in /usr/bin/python3")
    assert set(fake) <= set(found[0])
    assert found[1] == [type(fake[name]).__name__ for name in numbers]


def test_a_node_that_slurm_does_not_know_is_none(native: Native) -> None:
    assert asked(native, "node9") == {"pyslurm": None, "json": None, "text": None}


@pytest.mark.parametrize(
    "hostlist",
    [
        "node[01-100]",
        "node[08-11,098-101]",
        "n[9-12]",
        "a[1-2]b[01-02]",
        "n1,n[3,5-6],login",
        "gpu[001-003,010]",
        "rack[1-2]-n[1-2]",
    ],
)
def test_hostlists_are_slurms_own(native: Native, hostlist: str) -> None:
    said = native.run(["scontrol", "show", "hostnames", hostlist], check=True).stdout.split()
    assert list(expand(hostlist)) == said
    again = native.run(["scontrol", "show", "hostnames", fold(said)], check=True).stdout.split()
    assert sorted(again) == sorted(said)
