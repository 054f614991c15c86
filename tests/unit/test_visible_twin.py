"""Which GPUs a task can use: the plugin's devices.c beside Python's visible.py, by the same lists.

Slurm's environment and the device cgroup are fakes here; tests/native/test_visible.py has the real ones.
"""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Optional

import pytest
from builder import Device, Machine
from hypothesis import example, given
from hypothesis import strategies as st
from numa_align.placement.table import format_table
from numa_align.placement.visible import visible_gpus
from numa_align.topology.gpu.vendors import VENDORS
from numa_align.topology.model import Topology

SPANK = Path(__file__).resolve().parents[2] / "spank"
COUNT = 4
UUIDS = [f"GPU-{n}{n}{n}{n}aaaa-1111-2222-3333-444444444444" for n in range(COUNT)]

FAKES = """
#include <slurm/spank.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
static char variable[8][64], value[8][4096];
static int count;
static unsigned closed;
void fake_start(unsigned shut)
{
	closed = shut;
	count = 0;
}
void fake(const char *name, const char *text)
{
	snprintf(variable[count], sizeof(variable[count]), "%s", name);
	snprintf(value[count], sizeof(value[count]), "%s", text);
	count++;
}
spank_err_t spank_getenv(spank_t spank, const char *name, char *text, int size)
{
	(void)spank;
	for (int i = 0; i < count; i++)
		if (strcmp(name, variable[i]) == 0) {
			snprintf(text, (size_t)size, "%s", value[i]);
			return ESPANK_SUCCESS;
		}
	return ESPANK_ENV_NOEXIST;
}
static int answer(const char *path) { return closed >> (path[strlen(path) - 1] - '0') & 1 ? -1 : 0; }
int access(const char *path, int mode) { (void)mode; return answer(path); }
int faccessat(int folder, const char *path, int mode, int flags)
{
	(void)folder, (void)mode, (void)flags;
	return answer(path);
}
"""


class Devices:
    """devices.c as it is built, with fakes below it."""

    def __init__(self, folder: Path) -> None:
        path, fakes = folder / "devices.so", folder / "fakes.c"
        fakes.write_text(FAKES, encoding="utf-8")
        placement = [str(file) for file in sorted((SPANK / "placement").glob("*.c"))]
        command = ["cc", "-std=c11", "-D_GNU_SOURCE", "-shared", "-fPIC", "-Wl,-Bsymbolic", "-o", str(path)]
        subprocess.run([*command, str(fakes), str(SPANK / "devices.c"), *placement], check=True)
        self.library = ctypes.CDLL(str(path))
        self.library.na_table_parse.restype = ctypes.c_void_p

    def of_task(
        self, topology: Topology, environment: Mapping[str, str], closed: Sequence[int]
    ) -> tuple[int, ...]:
        """What a task has whose step has all that may be opened."""
        table = format_table(topology, 1).encode()
        error = ctypes.create_string_buffer(256)
        machine = self.library.na_table_parse(table, ctypes.c_size_t(len(table)), error, ctypes.c_size_t(256))
        assert machine, error.value
        shut = sum(1 << (topology.gpus[gpu].minor or 0) for gpu in closed)
        self.library.fake_start(ctypes.c_uint(shut))
        for name, text in environment.items():
            self.library.fake(name.encode(), text.encode())
        step = [number for number in range(len(topology.gpus)) if number not in closed]
        found, given_ = (ctypes.c_int * 256)(), (ctypes.c_int * 256)(*step)
        count = self.library.na_devices_of_task(None, ctypes.c_void_p(machine), given_, len(step), found)
        self.library.na_machine_free(ctypes.c_void_p(machine))
        return tuple(found[:count])


@pytest.fixture(scope="session")
def devices(tmp_path_factory: pytest.TempPathFactory) -> Devices:
    return Devices(tmp_path_factory.mktemp("devices"))


def machine(*index: Optional[int], vendor: int = 0x10DE) -> Topology:
    gpus = [Device(uuid=uuid, vendor=vendor, driver="driver", minor=n) for n, uuid in enumerate(UUIDS)]
    topology = Machine(packages=2, gpus=gpus).topology()
    numbered = (gpu._replace(index=number) for gpu, number in zip(topology.gpus, index))
    return Topology(topology.online, topology.nodes, topology.distances, topology.cores, tuple(numbered))


MACHINES = {
    "in order": machine(0, 1, 2, 3),
    "numbered otherwise": machine(2, 3, 0, 1),
    "not numbered": machine(None, None, None, None),
    "AMD": machine(0, 1, 2, 3, vendor=0x1002),
    "Intel": machine(0, 1, 2, 3, vendor=0x8086),
}
ENTRIES = st.sampled_from(["0", "1", "2", "3", "4", "-1", "", "x", "GPU-0", "GPU-1", "GPU-", *UUIDS])
ROCR, HIP, CUDA = "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"
LISTS = st.none() | st.lists(ENTRIES, max_size=5).map(",".join)


@pytest.mark.parametrize("name", sorted(MACHINES))
@given(text=LISTS, closed=st.lists(st.integers(0, COUNT - 1), unique=True, max_size=COUNT))
@example(text="1,0", closed=[2, 3])
@example(text="1,0", closed=[])
@example(text="3,2,1,0", closed=[])
@example(text="", closed=[])
def test_plugin_and_python_see_the_same_gpus(
    devices: Devices, name: str, text: Optional[str], closed: list[int]
) -> None:
    topology = MACHINES[name]
    variable = VENDORS[topology.gpus[0].vendor].visible
    environment = {} if text is None else {variable: text}
    assert devices.of_task(topology, environment, closed) == by_python(topology, environment, closed)


def by_python(topology: Topology, environment: Mapping[str, str], closed: Sequence[int]) -> tuple[int, ...]:
    shut = {topology.gpus[gpu].device for gpu in closed}
    seen = visible_gpus(topology.gpus, environment, lambda device: device not in shut)
    return tuple(topology.gpus.index(gpu) for gpu in seen)


@given(
    lists=st.fixed_dictionaries(
        {}, optional={name: st.lists(ENTRIES, max_size=5).map(",".join) for name in (ROCR, HIP, CUDA)}
    ),
    closed=st.lists(st.integers(0, COUNT - 1), unique=True, max_size=COUNT),
)
def test_plugin_and_python_read_all_of_an_amd_machines_lists_alike(
    devices: Devices, lists: dict[str, str], closed: list[int]
) -> None:
    topology = MACHINES["AMD"]
    assert devices.of_task(topology, lists, closed) == by_python(topology, lists, closed)


@pytest.mark.parametrize(
    ("lists", "gpus"),
    [
        ({HIP: "2"}, (2,)),
        ({CUDA: "2"}, (2,)),
        ({HIP: "3,0", CUDA: "2"}, (3, 0)),
        ({HIP: "", CUDA: "2"}, (2,)),
        ({ROCR: "1,2,3,0", HIP: "1"}, (2,)),
        ({ROCR: f"{UUIDS[3]},{UUIDS[1]}", HIP: "1,0"}, (1, 3)),
        ({ROCR: f"{UUIDS[3]},{UUIDS[1]}", CUDA: "0,2,1"}, (3,)),
        ({HIP: "-1"}, ()),
        ({HIP: "", CUDA: ""}, (0, 1, 2, 3)),
        ({ROCR: "2,3", CUDA: "2,3"}, (2, 3)),
    ],
    ids=str,
)
def test_hip_counts_in_what_the_runtime_has_left(
    devices: Devices, lists: dict[str, str], gpus: tuple[int, ...]
) -> None:
    """By the order of ROCm's runtime; one list in both variables is Slurm's one word."""
    assert devices.of_task(MACHINES["AMD"], lists, []) == gpus
    assert by_python(MACHINES["AMD"], lists, []) == gpus


def test_two_of_four_are_counted_as_the_list_has_them(devices: Devices) -> None:
    assert devices.of_task(MACHINES["in order"], {"CUDA_VISIBLE_DEVICES": "1,0"}, [2, 3]) == (1, 0)
