"""What the running Slurm says of a node is read the same in each of its forms."""

from __future__ import annotations

import json

from native import Native

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
    # Debian's 22.05 is built without JSON, and PyPI has pyslurm for 25.11 only.
    assert (found["json"] is None) == (native.slurm == "22.05")
    others = [form for name, form in found.items() if name != "text" and form is not None]
    assert [{**form, "source": "scontrol"} for form in others] == [said] * len(others)


def test_a_node_that_slurm_does_not_know_is_none(native: Native) -> None:
    assert asked(native, "node9") == {"pyslurm": None, "json": None, "text": None}
