"""Which GPUs a task can use: the plugin's devices.c beside Python's visible.py, by the same lists.

Slurm's environment and the device cgroup are fakes here; tests/native/test_visible.py has the real ones.
"""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Sequence
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
static char variable[64], value[4096];
static int is_set;
static unsigned closed;
void fake(const char *name, const char *text, unsigned shut)
{
	snprintf(variable, sizeof(variable), "%s", name);
	snprintf(value, sizeof(value), "%s", text ? text : "");
	is_set = text != NULL;
	closed = shut;
}
spank_err_t spank_getenv(spank_t spank, const char *name, char *text, int size)
{
	(void)spank;
	if (!is_set || strcmp(name, variable) != 0)
		return ESPANK_ENV_NOEXIST;
	snprintf(text, (size_t)size, "%s", value);
	return ESPANK_SUCCESS;
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
        self, topology: Topology, variable: str, text: Optional[str], closed: Sequence[int]
    ) -> tuple[int, ...]:
        """What a task has whose step has all that may be opened."""
        table = format_table(topology, 1).encode()
        error = ctypes.create_string_buffer(256)
        machine = self.library.na_table_parse(table, ctypes.c_size_t(len(table)), error, ctypes.c_size_t(256))
        assert machine, error.value
        shut = sum(1 << (topology.gpus[gpu].minor or 0) for gpu in closed)
        self.library.fake(variable.encode(), None if text is None else text.encode(), ctypes.c_uint(shut))
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
    shut = {topology.gpus[gpu].device for gpu in closed}
    environment = {} if text is None else {variable: text}
    seen = visible_gpus(topology.gpus, environment, lambda device: device not in shut)
    mine = tuple(topology.gpus.index(gpu) for gpu in seen)
    assert devices.of_task(topology, variable, text, closed) == mine


def test_two_of_four_are_counted_as_the_list_has_them(devices: Devices) -> None:
    assert devices.of_task(MACHINES["in order"], "CUDA_VISIBLE_DEVICES", "1,0", [2, 3]) == (1, 0)
