"""Which PCI functions are GPUs, and who they are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Optional

import pytest
from builder import Device, Machine, on_nodes
from numa_align.placement.choose_gpus import bridges_of
from numa_align.sysfs import Tree
from numa_align.topology.gpu import nvidia, nvml
from numa_align.topology.gpu.nvidia import mig_instances
from numa_align.topology.gpu.pci import PciFunction, normalise_bdf
from numa_align.topology.read import read_at
from numa_align.topology.select import by_uuid, parent_of_instance

U1, U2 = "GPU-11111111-2222-3333-4444-555555555555", "GPU-11111111-9999-3333-4444-555555555555"


@pytest.mark.parametrize(
    ("text", "bdf"),
    [
        ("0000:18:00.0", "0000:18:00.0"),
        ("00000000:3B:00.0", "0000:3b:00.0"),
        ("00010000:00:04.0", "10000:00:04.0"),
        ("10000:00:04.0", "10000:00:04.0"),
        ("3b:00.1", "0000:3b:00.1"),
        ("", None),
        ("0000:18:00", None),
        ("0000:18:20.0", None),
        ("0000:18:00.8", None),
        ("0000:118:00.0", None),
        ("0000:-1:00.0", None),
        ("a:b:c:d.0", None),
        ("0000:1_8:00.0", None),
    ],
)
def test_an_address_is_written_as_the_kernel_writes_it(text: str, bdf: Optional[str]) -> None:
    assert normalise_bdf(text) == bdf


def listed(tmp_path: Path, *devices: Device) -> list[tuple[str, str, Optional[str]]]:
    topology = read_at(Machine(gpus=devices).write(tmp_path))
    return [(gpu.vendor, gpu.bdf, gpu.device) for gpu in topology.gpus]


def other(vendor: int, device: int = 0x2000, class_code: int = 0x030000, **more: object) -> Device:
    return Device(vendor=vendor, device=device, class_code=class_code, is_gpu=False, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "device",
    [
        pytest.param(other(0x1A03), id="ASPEED"),
        pytest.param(other(0x102B, 0x0522), id="Matrox"),
        pytest.param(other(0x1013, 0x00B8), id="Cirrus"),
        pytest.param(other(0x1002, 0x515E), id="ES1000"),
        pytest.param(other(0x10EE, 0x5000, 0x120000), id="FPGA"),
        pytest.param(other(0x8086, 0x0B2B, 0x120000), id="Intel FPGA"),
        pytest.param(other(0x8086, 0x3E9A, bdf="0000:00:02.0"), id="integrated graphics"),
        pytest.param(other(0x1002, 0x74A1, 0x120000, driver="vfio-pci"), id="handed to a virtual machine"),
        pytest.param(
            other(0x8086, 0x0BD5, 0x038000, driver="vfio-pci"), id="Intel, handed to a virtual machine"
        ),
        pytest.param(other(0x10DE, 0x22A3, 0x068000), id="NVSwitch"),
        pytest.param(other(0x10DE, 0x1AEF, 0x040300), id="audio of a GPU"),
    ],
)
def test_what_is_no_gpu_is_not_listed(device: Device, tmp_path: Path) -> None:
    if device.bdf == "0000:00:02.0":
        # The builder puts every device behind a bridge; this one sits on the root bus.
        own = tmp_path / "sys/bus/pci/devices/0000:00:02.0"
        own.mkdir(parents=True)
        for name, text in (("class", "0x030000"), ("vendor", "0x8086"), ("device", "0x3e9a")):
            (own / name).write_text(text + "\n")
        assert read_at(Machine().write(tmp_path)).gpus == ()
        return
    assert listed(tmp_path, device) == []


@pytest.mark.parametrize(
    ("device", "vendor", "file"),
    [
        (Device(class_code=0x030000), "nvidia", "/dev/nvidia0"),
        (
            Device(vendor=0x1002, device=0x740C, class_code=0x038000, driver="amdgpu"),
            "amd",
            "/dev/dri/renderD128",
        ),
        (Device(vendor=0x1002, device=0x74A0, class_code=0x120000), "amd", None),
        (Device(vendor=0x1002, device=0x6860, class_code=0x030000), "amd", None),
        (
            Device(vendor=0x8086, device=0x0BD5, class_code=0x038000, driver="xe"),
            "intel",
            "/dev/dri/renderD128",
        ),
        (
            Device(vendor=0x8086, device=0x56A0, class_code=0x030000, driver="i915"),
            "intel",
            "/dev/dri/renderD128",
        ),
    ],
)
def test_a_gpu_is_listed_with_its_device_file(
    device: Device, vendor: str, file: Optional[str], tmp_path: Path
) -> None:
    assert listed(tmp_path, device) == [(vendor, "0000:11:00.0", file)]


def test_what_the_driver_announces_is_a_gpu_whatever_its_class(tmp_path: Path) -> None:
    assert listed(tmp_path, Device(vendor=0x1234, device=0x11E8, class_code=0x00FF00)) == [
        ("nvidia", "0000:11:00.0", "/dev/nvidia0")
    ]


def test_a_device_that_the_driver_does_not_list_is_no_gpu(tmp_path: Path) -> None:
    devices = (Device(), Device(is_gpu=False))
    assert [bdf for _, bdf, _ in listed(tmp_path, *devices)] == ["0000:11:00.0"]


def test_without_the_drivers_files_minors_are_not_known(tmp_path: Path) -> None:
    assert listed(tmp_path, Device(in_procfs=False)) == [("nvidia", "0000:11:00.0", None)]


def test_an_excluded_gpu_is_not_listed(tmp_path: Path) -> None:
    root = Machine(gpus=on_nodes(0, 0)).write(tmp_path)
    information = root / "proc/driver/nvidia/gpus/0000:11:00.0/information"
    information.write_text(information.read_text().replace("Excluded:\t No", "Excluded:\t Yes"))
    assert [gpu.bdf for gpu in read_at(root).gpus] == ["0000:21:00.0"]


def test_minors_are_the_drivers_and_not_the_order_of_addresses(tmp_path: Path) -> None:
    root = Machine(gpus=(Device(minor=3), Device(minor=0), Device(minor=11))).write(tmp_path)
    assert [gpu.minor for gpu in read_at(root).gpus] == [3, 0, 11]


@pytest.mark.parametrize(
    "uuid", ["GPU-????????-????-????-????-????????????", "GPU-1 2", "nonsense", "GPU-\x1b[31m"]
)
def test_a_uuid_that_is_none_is_not_reported(uuid: str, tmp_path: Path) -> None:
    assert read_at(Machine(gpus=(Device(uuid=uuid),)).write(tmp_path)).gpus[0].uuid is None


def test_a_name_cannot_steer_the_terminal(tmp_path: Path) -> None:
    model = read_at(Machine(gpus=(Device(model="A\x1b[31mB"),)).write(tmp_path)).gpus[0].model
    assert model == "A?[31mB"


def test_rocm_knows_an_amd_gpu_by_its_unique_id(tmp_path: Path) -> None:
    device = Device(vendor=0x1002, class_code=0x038000, driver="amdgpu", uuid="GPU-18f4ac3e3b2d5a01")
    (gpu,) = read_at(Machine(gpus=(device,)).write(tmp_path)).gpus
    assert gpu.uuid == "GPU-18f4ac3e3b2d5a01"


def test_the_kfd_topology_says_what_older_kernels_do_not(tmp_path: Path) -> None:
    root = Machine(gpus=(Device(vendor=0x1002, class_code=0x120000),)).write(tmp_path)
    nodes = root / "sys/class/kfd/kfd/topology/nodes"
    for number, text in enumerate(
        [
            "cpu_cores_count 24\nlocation_id 0\ndomain 0",
            # Twenty decimal digits; 0x1100 is bus 11, device 0; bits above 16 number a partition.
            f"location_id {0x1100}\ndomain 0\ndrm_render_minor 130\nunique_id 17798941254597420999",
            f"location_id {0x10001100}\ndomain 0\ndrm_render_minor 131\nunique_id 17798941254597420999",
        ]
    ):
        (nodes / str(number)).mkdir(parents=True)
        (nodes / str(number) / "properties").write_text(text + "\n")
    gpu, partition = read_at(root).gpus
    assert (partition.bdf, partition.device) == ("0000:11:00.1", "/dev/dri/renderD131")
    assert (gpu.minor, gpu.device, gpu.uuid) == (
        130,
        "/dev/dri/renderD130",
        f"GPU-{17798941254597420999:016x}",
    )


def partitioned(tmp_path: Path, parts: int, numbered: bool = True, without: tuple[int, ...] = ()) -> Path:
    """Two GPUs in as many partitions each, on two nodes; ``without`` have no render node of their own."""
    devices = tuple(
        Device(node=node, vendor=0x1002, class_code=0x120000, driver="amdgpu", minor=128 + parts * node)
        for node in (0, 1)
    )
    root = Machine(packages=2, cores=8, gpus=devices).write(tmp_path)
    for gpu in (0, 1):
        for part in range(parts):
            own = root / "sys/class/kfd/kfd/topology/nodes" / str(2 + parts * gpu + part)
            own.mkdir(parents=True)
            minor = 0 if part in without else 128 + parts * gpu + part
            location = (part << 28 if numbered else 0) | (0x11 + 0x10 * gpu) << 8
            text = f"location_id {location}\ndomain 0\ndrm_render_minor {minor}\n"
            (own / "properties").write_text(text)
    return root


@pytest.mark.parametrize("numbered", [True, False])
@pytest.mark.parametrize("parts", [1, 2, 3, 8])
def test_each_partition_of_an_amd_gpu_is_a_gpu_beside_it(parts: int, numbered: bool, tmp_path: Path) -> None:
    gpus = read_at(partitioned(tmp_path, parts, numbered)).gpus
    assert [gpu.device for gpu in gpus] == [f"/dev/dri/renderD{128 + i}" for i in range(2 * parts)]
    assert [gpu.node for gpu in gpus] == [0] * parts + [1] * parts
    assert [gpu.bdf for gpu in gpus[:parts]] == [f"0000:11:00.{i}" for i in range(parts)]
    assert len({bridges_of(gpu, str(tmp_path)) for gpu in gpus[:parts]}) == 1


def test_a_partition_that_cannot_be_opened_is_no_gpu(tmp_path: Path) -> None:
    gpus = read_at(partitioned(tmp_path, 3, without=(1,))).gpus
    assert [gpu.minor for gpu in gpus] == [128, 130, 131, 133]
    assert [gpu.bdf[-1] for gpu in gpus] == ["0", "2", "0", "2"]


def divided(tmp_path: Path, *instances: tuple[int, ...]) -> Path:
    devices = [Device(uuid=uuid, mig_instances=own) for uuid, own in zip((U1, U2), instances)]
    return Machine(gpus=tuple(devices)).write(tmp_path)


def test_mig_instances_are_those_of_the_minor(tmp_path: Path) -> None:
    tree = Tree(divided(tmp_path, (7, 1), ()))
    assert mig_instances(tree, 0) == (1, 7)
    assert mig_instances(tree, 1) == ()


@pytest.mark.parametrize(
    ("uuid", "bdfs"),
    [
        (U1, ["0000:11:00.0"]),
        ("GPU-11111111-9", ["0000:21:00.0"]),
        ("GPU-11111111", ["0000:11:00.0", "0000:21:00.0"]),
        (f"MIG-{U2}/1/0", ["0000:21:00.0"]),
        ("MIG-77777777-2222-3333-4444-555555555555", []),
        ("0", []),
        ("GPU-", []),
    ],
)
def test_a_uuid_leads_to_its_gpu(uuid: str, bdfs: list[str], tmp_path: Path) -> None:
    root = divided(tmp_path, (1, 2), ())
    assert [gpu.bdf for gpu in by_uuid(read_at(root).gpus, uuid)] == bdfs


def test_an_instance_is_of_the_only_gpu_that_has_some(tmp_path: Path) -> None:
    root = divided(tmp_path, (1, 2), ())
    gpu = parent_of_instance("MIG-77777777-2222-3333-4444-555555555555", read_at(root).gpus, Tree(root))
    assert gpu is not None
    assert gpu.bdf == "0000:11:00.0"


def test_which_of_two_divided_gpus_has_the_instance_only_nvml_can_say(tmp_path: Path) -> None:
    root = divided(tmp_path, (1,), (1,))
    assert (
        parent_of_instance("MIG-77777777-2222-3333-4444-555555555555", read_at(root).gpus, Tree(root)) is None
    )


class LiveTree(Tree):
    """A built machine that passes for the running one."""

    is_live = True

    def exists(self, path: str) -> bool:
        return path == "dev/nvidiactl"


def fake_nvml(**functions: object) -> SimpleNamespace:
    handles = [SimpleNamespace(busId=b"00000000:3B:00.0"), SimpleNamespace(busId="00000000:18:00.0")]
    usual = {
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetCount": lambda: len(handles),
        "nvmlDeviceGetHandleByIndex": lambda position: handles[position],
        "nvmlDeviceGetHandleByUUID": lambda uuid: uuid,
        "nvmlDeviceGetDeviceHandleFromMigDeviceHandle": lambda _: handles[1],
        "nvmlDeviceGetPciInfo": lambda handle: handle,
        "nvmlDeviceGetMinorNumber": lambda handle: 1 - handles.index(handle),
        "nvmlDeviceGetUUID": lambda _: U1.encode(),
        "nvmlDeviceGetName": lambda _: "Model 1",
    }
    return SimpleNamespace(**{**usual, **functions})


SHOWN = (PciFunction("0000:18:00.0", 0x10DE, None, 0x0302, None),)


def test_nvml_is_asked_where_the_drivers_files_are_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml())
    found = nvidia.find(LiveTree(tmp_path), SHOWN)
    assert [(gpu.bdf, gpu.minor, gpu.uuid) for gpu in found] == [
        ("0000:18:00.0", 0, U1),
        ("0000:3b:00.0", 1, U1),
    ]


def test_nvml_says_whose_a_mig_instance_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml())
    devices = (Device(bdf="0000:3b:00.0"), Device(bdf="0000:18:00.0"))
    gpus = read_at(Machine(gpus=devices).write(tmp_path)).gpus
    gpu = parent_of_instance("MIG-77777777-2222-3333-4444-555555555555", gpus, LiveTree(tmp_path))
    assert gpu is not None
    assert gpu.bdf == "0000:18:00.0"


def fail(*_: object) -> None:
    raise RuntimeError("Driver/library version mismatch")


@pytest.mark.parametrize("function", ["nvmlInit", "nvmlDeviceGetCount", "nvmlDeviceGetUUID", "nvmlShutdown"])
def test_whatever_fails_in_nvml_leaves_what_pci_shows(
    function: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(**{function: fail}))
    found = nvidia.find(LiveTree(tmp_path), SHOWN)
    assert [(gpu.bdf, gpu.minor) for gpu in found] == [("0000:18:00.0", None)]


class UnknownError(Exception):
    """Stands for pynvml.NVMLError."""


def by_address(**functions: object) -> SimpleNamespace:
    """Two GPUs, whose handles are their addresses, with two links; a third goes to a switch."""
    peers = {A: [B.upper(), B, "00000000:70:00.0"], B: [A, A]}

    def peer(handle: bytes, link: int) -> SimpleNamespace:
        if link == len(peers[handle.decode()]):
            raise UnknownError
        return SimpleNamespace(busId=peers[handle.decode()][link].encode())

    def pids(handle: bytes) -> list[SimpleNamespace]:
        if handle.decode() == A:
            raise UnknownError
        return [SimpleNamespace(pid=7)]

    usual = {
        "NVMLError": UnknownError,
        "nvmlDeviceGetHandleByPciBusId": lambda bdf: bdf,
        "nvmlDeviceGetNvLinkState": lambda handle, link: 1,
        "nvmlDeviceGetNvLinkRemotePciInfo": peer,
        "nvmlDeviceGetComputeRunningProcesses": pids,
    }
    return fake_nvml(**{**usual, **functions})


A, B = "0000:18:00.0", "0000:3b:00.0"


def test_nvml_counts_the_links_from_gpu_to_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", by_address())
    assert nvml.links([A, B]) == ((0, 2), (2, 0))
    monkeypatch.setitem(sys.modules, "pynvml", by_address(nvmlDeviceGetHandleByPciBusId=fail))
    assert nvml.links([A, B]) is None


def test_a_gpu_that_nvml_does_not_tell_of_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", by_address())
    assert nvml.running([A, B]) == ((7, B),)


@pytest.mark.parametrize("modes", [(1, 1), (1, 0)])
def test_persistence_is_that_of_all_gpus(modes: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    left = list(modes)
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(nvmlDeviceGetPersistenceMode=lambda _: left.pop()))
    assert nvml.persistence() is all(modes)


def test_without_pynvml_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert (nvml.gpus(), nvml.links([A]), nvml.running([A])) == ((), None, ())
    assert (nvml.persistence(), nvml.mig_parent("MIG-1")) == (None, None)


def test_one_module_alone_names_pynvml() -> None:
    root = Path(__file__).resolve().parents[2]
    files = [*root.glob("prolog/numa_align/**/*.py"), *root.glob("slurm-conf/numa_align_conf/**/*.py")]
    assert len(files) > 100
    naming = [path.name for path in files if '"pynvml"' in path.read_text(encoding="utf-8")]
    assert naming == ["nvml.py"]


def test_a_prolog_runs_nothing_of_the_sites_python_as_root(tmp_path: Path) -> None:
    package = Path(nvidia.__file__).resolve().parents[3]
    (tmp_path / "evil.pth").write_text(f"import pathlib; pathlib.Path({str(tmp_path / 'ran')!r}).touch()\n")
    code = (
        f"import sys; sys.path.insert(0, {str(package)!r}); "
        "from numa_align.topology.gpu.nvml import import_nvml\n"
        "try: import_nvml()\n"
        "except ImportError: print('site' in sys.modules)"
    )
    environment = {"PYTHONPATH": str(tmp_path), "PYTHONUSERBASE": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False, env=environment
    )
    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr
    assert not (tmp_path / "ran").exists()
