"""doctor finds something wrong with the GPUs of slurm.conf and gres.conf if and only if Slurm does.

`slurmd -G` of each release is the judge: it starts, without a line of error, with every GPU of the machine
and the cores of each GPU's own NUMA node. The files are those of the cases beside this checkout, a list of
the kinds in them and around them, and many that hypothesis makes.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from builder import Machine, on_nodes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numa_align.errors import ConfError
from numa_align_conf.doctor.checks import examine
from numa_align_conf.doctor.model import Finding
from numa_align_conf.doctor.read import read_facts
from numa_align_conf.version import parse_version
from unit.site_cases import CASES, machine_of, needs_cases

from native import Native

from .conftest import OWN
from .slurmd_asked import Answer, ask, put_machine

MACHINE = Machine(
    packages=2, cores=48, smt=2, gpus=on_nodes(0, 0, 0, 0, 1, 1, 1, 1, model="NVIDIA H100 80GB HBM3")
)
NEAR = {f"/dev/nvidia{i}": tuple(range(48)) if i < 4 else tuple(range(48, 96)) for i in range(8)}

HEAD = """ClusterName=x
SlurmctldHost=ctl
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
"""
NODE = "NodeName=gpu01 Sockets=2 CoresPerSocket=48 ThreadsPerCore=2 RealMemory=20000"


@pytest.fixture(scope="module")
def machine(native: Native, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The tree that doctor and slurmd read, with the plugins that this Slurm has."""
    root = MACHINE.write(tmp_path_factory.mktemp("oracle") / "machine")
    put_machine(native, root)
    folder = root / "usr/lib/slurm"
    folder.mkdir(parents=True)
    where = "/usr/lib" if OWN is None else OWN.prefix
    plugins = native.run(f"find {where} -name 'gpu_*.so' -printf '%f\\n'", check=True).stdout.split()
    for name in plugins:
        (folder / name).touch()
    yield root


def found(root: Path, files: Mapping[str, str | bytes], node: str, version: str) -> tuple[Finding, ...]:
    """All that doctor finds. Raises ConfError for a file that it refuses."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            path = Path(folder) / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(text.encode() if isinstance(text, str) else text)
        conf = Path(folder) / "slurm.conf"
        return examine(read_facts(str(root), name=node, slurm_conf=conf, version=parse_version(version)))


def told(root: Path, files: Mapping[str, str | bytes], node: str, version: str) -> list[str]:
    """What doctor says is wrong with the GPUs; one line if it refuses a file."""
    try:
        wrong = [one for one in found(root, files, node, version) if one.status == "fail"]
    except ConfError as error:
        return [str(error)]
    return [
        f"{one.check}: {one.what}"
        for one in wrong
        if one.check.startswith("gres") or one.check in ("slurm-conf", "slurm-line", "node-twice")
    ]


def refused(answer: Answer, gres: str) -> str | None:
    """Why Slurm does not treat these GPUs as it should; None if it does.

    ``gres`` is Gres= of the node: `slurmd -G` is content with fewer GPUs, and slurmctld then is not ("count
    reported lower than configured").
    """
    if answer.status != 0:
        return f"status {answer.status}: {answer.text}"
    if re.search(r"\berror:", answer.text):
        return answer.text
    if set(answer.cores) != set(NEAR):
        return f"GPUs {sorted(answer.cores)}: {answer.text}"
    wrong = {name: cores for name, cores in answer.cores.items() if cores != NEAR[name]}
    if wrong:
        return f"cores {wrong}"
    counts = [int(number) for number in re.findall(r"\bgpu(?::[a-z]\w*)*(?::(\d+))", gres, re.IGNORECASE)]
    if sum(counts) > len(NEAR):
        return f"{gres} and {len(NEAR)} GPUs"
    extra = sum(int(number) for number in re.findall(r"has (\d+) more configured", answer.text))
    # Where gres.conf alone has types Slurm says this of every line although it takes them all.
    typed = re.search(r"gpu:[a-z]", gres, re.IGNORECASE)
    return answer.text if extra and (typed or extra != len(NEAR)) else None


def compare(native: Native, root: Path, files: Mapping[str, str | bytes]) -> str:
    """Both words, asserted to agree; ``ok`` or ``wrong``."""
    doctors = told(root, files, "gpu01", native.slurm)
    text = files["slurm.conf"]
    lines = (text.decode() if isinstance(text, bytes) else text).splitlines()
    gres = [line.partition("Gres=")[2] for line in lines if "Gres=" in line]
    slurms = refused(ask(native, files, "gpu01"), gres[-1] if gres else "")
    said = f"doctor: {doctors}\nSlurm {native.slurm}: {slurms}\n{files}"
    assert bool(doctors) == (slurms is not None), said
    return "wrong" if doctors else "ok"


GOOD = """\
Name=gpu Type=h100 File=/dev/nvidia[0-3] Cores=0-47
Name=gpu Type=h100 File=/dev/nvidia[4-7] Cores=48-95
"""
UNTYPED = GOOD.replace(" Type=h100", "")
TYPED_GRES, GRES = "Gres=gpu:h100:8", "Gres=gpu:8"

#: Gres= and more of the NodeName line, gres.conf, and what both say of it: None where releases differ.
KINDS: dict[str, tuple[str, str | bytes, str | None]] = {
    "as it should be": (TYPED_GRES, GOOD, "ok"),
    "no types": (GRES, UNTYPED, "ok"),
    "a type in gres.conf alone": (GRES, GOOD, "ok"),
    "a type in slurm.conf alone": (TYPED_GRES, UNTYPED, "wrong"),
    "types in any case": ("Gres=gpu:H100:8", GOOD, "ok"),
    "names in any case in gres.conf": (TYPED_GRES, GOOD.replace("Name=gpu", "NAME=GPU"), "ok"),
    "names in capitals in slurm.conf": ("Gres=GPU:h100:8", GOOD, "wrong"),
    "sockets and no_consume": ("Gres=gpu:h100:no_consume:8(S:0-1)", GOOD, "ok"),
    "two types": (
        "Gres=gpu:a:4,gpu:b:4",
        GOOD.replace("h100", "a", 1).replace("h100", "b", 1),
        "ok",
    ),
    "two types, one of them counted wrong": (
        "Gres=gpu:a:4,gpu:b:3",
        GOOD.replace("h100", "a", 1).replace("h100", "b", 1),
        "wrong",
    ),
    "a type of two": ("Gres=gpu:a:4", GOOD.replace("h100", "a", 1).replace("h100", "b", 1), "wrong"),
    "some entries with a type": ("Gres=gpu:h100:4,gpu:4", GOOD, "wrong"),
    "another type": ("Gres=gpu:a100:8", GOOD, "wrong"),
    "part of a type": ("Gres=gpu:h10:8", GOOD, "wrong"),
    "more than there are": ("Gres=gpu:h100:16", GOOD, "wrong"),
    "fewer than there are": ("Gres=gpu:h100:4", GOOD, "wrong"),
    "none": ("", GOOD, "wrong"),
    "zero": ("Gres=gpu:0", GOOD, "wrong"),
    "one": ("Gres=gpu", UNTYPED, "wrong"),
    "no cores": (GRES, "Name=gpu File=/dev/nvidia[0-7]\n", "wrong"),
    "all cores": (GRES, "Name=gpu File=/dev/nvidia[0-7] Cores=0-95\n", "wrong"),
    "other "
    "cores": (GRES, UNTYPED.replace("48-95", "x").replace("0-47", "48-95").replace("x", "0-47"), "wrong"),
    "cores in brackets": (GRES, UNTYPED.replace("Cores=0-47", "Cores=[0-47]"), "ok"),
    "cores that are not there": (GRES, UNTYPED.replace("48-95", "96-191"), "wrong"),
    "CPUs= for Cores=": (GRES, UNTYPED.replace("Cores=", "CPUs="), "ok"),
    "plural keys": (GRES, UNTYPED.replace("File=", "Files="), "ok"),
    "Count= like the files": (GRES, UNTYPED.replace(" File", " Count=4 File"), "ok"),
    "Count= unlike the files": (GRES, UNTYPED.replace(" File", " Count=8 File"), "wrong"),
    "Count= that is no number": (GRES, UNTYPED.replace(" File", " Count=x File"), "wrong"),
    "no files": (GRES, "Name=gpu Count=8\n", "wrong"),
    "a file on some lines": (GRES, UNTYPED.replace("File=/dev/nvidia[4-7]", "Count=4"), "wrong"),
    "a type on some lines": (GRES, GOOD.replace(" Type=h100", "", 1), "wrong"),
    "a file twice, both "
    "counted": ("Gres=gpu:12", UNTYPED + "Name=gpu File=/dev/nvidia[0-3] Cores=0-47\n", "wrong"),
    "a file twice, one counted": (GRES, UNTYPED + "Name=gpu File=/dev/nvidia[0-3] Cores=0-47\n", "wrong"),
    "a file that is not there": ("Gres=gpu:9", UNTYPED.replace("[4-7]", "[4-8]"), "wrong"),
    "one of many files": (GRES, "Name=gpu MultipleFiles=/dev/nvidia0 Cores=0-47\n", "wrong"),
    "an unknown key": (GRES, UNTYPED.replace(" Cores", " Colour=red Cores"), "wrong"),
    "an unknown key for another node": (GRES, UNTYPED + "NodeName=other Name=gpu Colour=red\n", "wrong"),
    "UUID=, which is new": (GRES, UNTYPED.replace(" Cores", " UUID=GPU-1 Cores"), "wrong"),
    "NodeName= in the middle": (GRES, UNTYPED.replace(" File", " NodeName=gpu01 File"), "wrong"),
    "File= first": (GRES, "File=/dev/nvidia[0-7] Name=gpu\n", "wrong"),
    "a line for the node without Name=": (GRES, UNTYPED + "NodeName=gpu01 File=/dev/nvidia0\n", "wrong"),
    "lines for the node": (GRES, UNTYPED.replace("Name=gpu", "NodeName=gpu[01-04] Name=gpu"), "ok"),
    "lines for other nodes too": (GRES, UNTYPED + "NodeName=gpu[02-99] Name=gpu File=/dev/nvidia0\n", "ok"),
    "an empty Type=": (GRES, UNTYPED.replace(" File", " Type= File"), "wrong"),
    "the same flags": (GRES, UNTYPED.replace(" File", " Flags=nvidia_gpu_env File"), "ok"),
    "other flags": (
        GRES,
        UNTYPED.replace(" File", " Flags=nvidia_gpu_env File", 1).replace("[4-7]", "[4-7] Flags=amd_gpu_env"),
        "wrong",
    ),
    "one more flag on the second line": (
        GRES,
        UNTYPED.replace(" File", " Flags=nvidia_gpu_env File", 1).replace(
            "[4-7]", "[4-7] Flags=nvidia_gpu_env,one_sharing"
        ),
        None,
    ),
    "a flag about no variable on the second line": (
        GRES,
        UNTYPED.replace("[4-7]", "[4-7] Flags=one_sharing"),
        None,
    ),
    "a flag about no variable on the first line": (
        GRES,
        UNTYPED.replace("[0-3]", "[0-3] Flags=one_sharing"),
        None,
    ),
    "unknown flags that differ": (
        GRES,
        UNTYPED.replace("[0-3]", "[0-3] Flags=foo").replace("[4-7]", "[4-7] Flags=bar"),
        None,
    ),
    "flags that exclude each other": (
        GRES,
        UNTYPED.replace(" File", " Flags=no_gpu_env,nvidia_gpu_env File"),
        "wrong",
    ),
    "flags of the node after those of all": (
        GRES,
        "NodeName=gpu01 Name=gpu File=/dev/nvidia[0-3] Cores=0-47 Flags=nvidia_gpu_env\n"
        "Name=gpu File=/dev/nvidia[4-7] Cores=48-95\n",
        "ok",
    ),
    "flags on the second line": (GRES, UNTYPED.replace("[4-7]", "[4-7] Flags=nvidia_gpu_env"), "wrong"),
    "flags on the first line": (GRES, UNTYPED.replace("[0-3]", "[0-3] Flags=nvidia_gpu_env"), "ok"),
    "a comment in Latin-1": (GRES, b"# caf\xe9 \x85 and more\n" + UNTYPED.encode(), "ok"),
    "tabs and line feeds of Windows": (GRES, UNTYPED.replace(" ", "\t").replace("\n", "\r\n"), "ok"),
    "a word that goes on": (GRES, UNTYPED.replace("/dev/nvidia", "/dev/nv\\\nidia"), "ok"),
    "included": (GRES, "include\tone.conf\n", "ok"),
    "included, not at the beginning": (GRES, " include one.conf\n", "wrong"),
    "no word of it": (GRES, "hello\n", "wrong"),
    "an empty file": (GRES, "", "wrong"),
    "the same type twice": ("Gres=gpu:h100:4,gpu:h100:4", GOOD, "ok"),
    "no_consume last, which counts as one": ("Gres=gpu:h100:8:no_consume", GOOD, "wrong"),
    "a count with zeros before it": ("Gres=gpu:08", UNTYPED, "ok"),
    "a type without a count": ("Gres=gpu:h100", GOOD, "wrong"),
    "an empty type": ("Gres=gpu::8", UNTYPED, "ok"),
    "a negative count": ("Gres=gpu:-8", UNTYPED, "wrong"),
    "values in quotes": ('Gres="gpu:8"', UNTYPED.replace("Cores=0-47", 'Cores="0-47"'), "ok"),
    "spaces around =": (GRES, UNTYPED.replace("Name=", "Name = ").replace("File=", "File = "), "ok"),
    "cores that end in a comma": (GRES, UNTYPED.replace("48-95", "48-95,"), "wrong"),
    "cores backwards": (GRES, UNTYPED.replace("48-95", "95-48"), "wrong"),
    "cores in pieces": (GRES, UNTYPED.replace("0-47", "0-23,24-47"), "ok"),
    "Cores= and CPUs=": (GRES, UNTYPED.replace("Cores=0-47", "CPUs=48-95 Cores=0-47"), "ok"),
    "padded files": (GRES, UNTYPED.replace("[0-3]", "[00-03]"), "wrong"),
    "an empty Cores=": (GRES, UNTYPED.replace("Cores=0-47", "Cores="), "wrong"),
    "a comment behind": (GRES, UNTYPED.replace("0-47", "0-47 # near"), "ok"),
    "flags that nobody knows": (GRES, UNTYPED.replace(" Cores", " Flags=foo Cores"), "ok"),
    "links without -1": (GRES, UNTYPED.replace(" Cores", " Links=4,4 Cores"), "wrong"),
    "links that are no numbers": (GRES, UNTYPED.replace(" Cores", " Links=x Cores"), "wrong"),
    "another gres that GresTypes= lacks": (GRES, UNTYPED + "Name=mps Count=800\n", "wrong"),
    "shards": ("Gres=gpu:8,shard:64", UNTYPED + "Name=shard Count=64\n", "ok"),
    "shards that slurm.conf lacks": (GRES, UNTYPED + "Name=shard Count=64\n", "wrong"),
    "more shards than declared": ("Gres=gpu:8,shard:8", UNTYPED + "Name=shard Count=64\n", "wrong"),
    "another gres with files": (
        "Gres=gpu:8,nic:2",
        UNTYPED + "Name=nic File=/dev/nvidia[0-1]\n",
        "ok",
    ),
    "a list of nodes backwards": (GRES, UNTYPED + "NodeName=gpu[5-4] Name=gpu File=/dev/nvidia0\n", "wrong"),
    "AutoDetect= beside lines without the type": (TYPED_GRES, "AutoDetect=nvml\n" + UNTYPED, "wrong"),
    "AutoDetect= beside lines": (TYPED_GRES, "AutoDetect=nvml\n" + GOOD, "ok"),
    "a byte order mark": (GRES, b"\xef\xbb\xbf" + UNTYPED.encode(), "wrong"),
    "a space that is none": (GRES, UNTYPED.replace(" Cores", "\u00a0Cores"), "wrong"),
    "AutoDetect=off": (GRES, "AutoDetect=off\n" + UNTYPED, "ok"),
    "AutoDetect= before Name=": (GRES, "AutoDetect=nvml Name=gpu\n", "wrong"),
    "AutoDetect= that is unknown": (GRES, "AutoDetect=nvlm\n" + UNTYPED, "wrong"),
    "AutoDetect= on a Name= line": (GRES, UNTYPED.replace(" Cores", " AutoDetect=nvml Cores"), "wrong"),
    "AutoDetect=off of the "
    "node": (GRES, "NodeName=gpu01 AutoDetect=off\nAutoDetect=nvlm2nvml\n" + UNTYPED, "ok"),
    "two AutoDetect= of the node": (
        GRES,
        "NodeName=gpu01 AutoDetect=off\nNodeName=gpu[01-02] AutoDetect=nvml\n" + UNTYPED,
        "wrong",
    ),
    "AutoDetect= of another maker": (GRES, "AutoDetect=rsmi\n", "wrong"),
}  # fmt: skip


WITH_OTHERS = [kind for kind in KINDS if "shard" in kind or "with files" in kind]


@pytest.mark.parametrize("kind", KINDS)
def test_doctor_says_of_each_kind_what_slurm_says(kind: str, native: Native, machine: Path) -> None:
    gres, text, right = KINDS[kind]
    files = {
        "slurm.conf": f"{HEAD}GresTypes={'gpu,shard,nic' if kind in WITH_OTHERS else 'gpu'}\n{NODE} {gres}\n",
        "gres.conf": text,
        "one.conf": UNTYPED,
    }
    assert compare(native, machine, files) in ((right,) if right else ("ok", "wrong"))


@pytest.mark.parametrize(
    ("lines", "right"),
    [
        (f"{NODE} {GRES}\n", "wrong"),
        (f"GresTypes=gpu,nic\n{NODE} {GRES}\n", "ok"),
        (f"GresTypes=gpu\nNodeName=DEFAULT {GRES}\n{NODE}\n", "ok"),
        (f"GresTypes=gpu\nNodeName=DEFAULT Gres=gpu:4\n{NODE} {GRES}\n", "ok"),
        (f"GresTypes=gpu\nNodeName=DEFAULT {GRES}\nNodeName=DEFAULT Weight=2\n{NODE}\n", "ok"),
        (f"GresTypes=gpu\n{NODE.replace('gpu01', 'gpu[1-20]')} {GRES}\n", "wrong"),
        (f"GresTypes=gpu\n{NODE.replace('gpu01', 'gpu[01-100]')} {GRES}\n", "ok"),
        (f"GresTypes=gpu\nProlog=\n{NODE} {GRES}\n", "wrong"),
        (f"GresTypes=GPU\n{NODE} {GRES}\n", "wrong"),
        (f"GresTypes=gpu,\n{NODE} {GRES}\n", "ok"),
        (f"GresTypes=gpu, mps\n{NODE} {GRES}\n", "wrong"),
        (f"GresTypes=gpu\n{NODE} {GRES}\n{NODE} {GRES}\n", "wrong"),
        (f"GresTypes=gpu\n{NODE}\nNodeName=DEFAULT {GRES}\n", "wrong"),
        (f"GresTypes=gpu\n{NODE} \\\n  {GRES}\n", "ok"),
        (f"GresTypes=gpu MaxJobCount=10\n{NODE} {GRES}\n", "wrong"),
    ],
)
def test_doctor_says_of_slurm_conf_what_slurm_says(
    lines: str, right: str, native: Native, machine: Path
) -> None:
    assert compare(native, machine, {"slurm.conf": HEAD + lines, "gres.conf": UNTYPED}) == right


#: slurm.conf, gres.conf and the key that stands twice.
TWICE: dict[str, tuple[str, str, str | None]] = {
    "a setting": (f"GresTypes=gpu\nTmpFS=/tmp\nGresTypes=gpu\n{NODE} {GRES}\n", UNTYPED, "GresTypes"),
    "on the node's line": (f"GresTypes=gpu\n{NODE} Gres=gpu:4 {GRES}\n", UNTYPED, "Gres"),
    "on a line of gres.conf": (
        f"GresTypes=gpu\n{NODE} {GRES}\n",
        UNTYPED.replace(" File", " Cores=1 File"),
        "Cores",
    ),
    "lines that are a list": (
        f"GresTypes=gpu\n{NODE} {GRES}\nPartitionName=a Nodes=gpu01\nPartitionName=b Nodes=gpu01\n",
        UNTYPED,
        None,
    ),
    "AutoDetect=": (
        f"GresTypes=gpu\n{NODE} {GRES}\n",
        "AutoDetect=off\nAutoDetect=off\n" + UNTYPED,
        "AutoDetect",
    ),
    "a default and a node's own": (
        f"GresTypes=gpu\nNodeName=DEFAULT {GRES}\n{NODE} {GRES}\n",
        UNTYPED,
        None,
    ),
}


@pytest.mark.parametrize("kind", TWICE)
def test_doctor_names_a_key_that_stands_twice_as_slurm_does(kind: str, native: Native, machine: Path) -> None:
    slurm, gres, key = TWICE[kind]
    files = {"slurm.conf": HEAD + slurm, "gres.conf": gres}
    said = [one.what for one in found(machine, files, "gpu01", native.slurm) if one.check == "key-twice"]
    doctors = {re.sub(r".*\((\w+) specified more than once.*", r"\1", what) for what in said}
    slurms = set(re.findall(r"(\w+)(?: \d+)? specified more than once", ask(native, files, "gpu01").text))
    assert (doctors, slurms) == ({key} - {None}, {key} - {None})


@pytest.mark.parametrize(
    "flags",
    ["", "nvidia_gpu_env", "NVIDIA_GPU_ENV,one_sharing", "one_sharing", "foo", "amd_gpu_env", "CountOnly"],
)
def test_doctor_warns_of_flags_that_leave_no_variable(flags: str, native: Native, machine: Path) -> None:
    """As `slurmd -G` shows them: ENV_NVML is what sets CUDA_VISIBLE_DEVICES."""
    if native.slurm == "22.05":
        pytest.skip("slurmd -G of 22.05 does not show Flags")
    gres = UNTYPED.replace(" File", f" Flags={flags} File") if flags else UNTYPED
    files = {"slurm.conf": f"{HEAD}GresTypes=gpu\n{NODE} {GRES}\n", "gres.conf": gres}
    warned = [one.what for one in found(machine, files, "gpu01", native.slurm) if one.check == "gres-flags"]
    answer = ask(native, files, "gpu01").text
    assert "Gres Name=gpu" in answer
    assert bool(warned) == ("ENV_NVML" not in answer), (warned, answer)


def of_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.conf")}


def cases() -> list[str]:
    """Those on the machine of this file; the others need other device files than the cluster has."""
    folders = sorted(path.parent for path in CASES.glob("**/build.py"))
    return [
        str(folder.relative_to(CASES))
        for folder in folders
        if {"gres.conf", "slurm.conf"} <= {path.name for path in folder.iterdir()}
        and "gpu01" in (folder / "README").read_text()
    ]


@needs_cases
@pytest.mark.parametrize("case", cases() if CASES.is_dir() else [])
def test_doctor_says_of_the_cases_what_slurm_says(
    case: str, native: Native, machine: Path, tmp_path: Path
) -> None:
    if "cores-beside-nvml" in case:
        pytest.skip("no Slurm of Debian's has gpu_nvml.so")
    built = machine_of(case, tmp_path)
    same = built / "sys/devices/system/node/node1/cpulist"
    if same.read_text() != (machine / "sys/devices/system/node/node1/cpulist").read_text():
        pytest.skip("another machine")
    compare(native, machine, of_files(CASES / case))


# -- Files that hypothesis makes -----------------------------------------------------------------

KEYS: st.SearchStrategy[Callable[[str], str]] = st.sampled_from([str, str, str.upper, str.lower])
SPACES = st.sampled_from([" ", " ", " ", "\t", "  ", " \\\n "])
TYPES = st.sampled_from(["h100", "h100", "h100", "H100", "a100", None])
CORES = st.sampled_from(["near", "near", "near", "near", "[near]", "far", "all", None])


@st.composite
def records(draw: st.DrawFn) -> str:
    """A line about some GPUs of one NUMA node, right more often than not."""
    node = draw(st.sampled_from([0, 1]))
    files = draw(
        st.sampled_from(["[{0}-{3}]", "[{0}-{3}]", "[{0}-{2}]", "{0}", "[{0},{1}],/dev/nvidia[{2}-{3}]"])
    )
    near, far = ("0-47", "48-95") if node == 0 else ("48-95", "0-47")
    cores = draw(CORES)
    words = {
        "Type": draw(TYPES),
        "File": "/dev/nvidia" + files.format(*range(4 * node, 4 * node + 4)),
        "Cores": None
        if cores is None
        else cores.replace("near", near).replace("far", far).replace("all", "0-95"),
        "Count": draw(st.sampled_from([None, None, None, None, "4", "8"])),
        "Flags": draw(st.sampled_from([None, None, None, "nvidia_gpu_env", "one_sharing", "no_gpu_env"])),
        "AutoDetect": draw(st.sampled_from([None] * 12 + ["off", "nvml"])),
    }
    begin = draw(
        st.sampled_from(["Name=gpu"] * 4 + ["NodeName=gpu[01-04] Name=gpu", "NodeName=gpu[1-4] Name=gpu"])
    )
    key, space = draw(KEYS), draw(SPACES)
    return space.join(
        [begin, *(f"{key(name)}={value}" for name, value in words.items() if value is not None)]
    )


@st.composite
def sites(draw: st.DrawFn) -> dict[str, str | bytes]:
    """slurm.conf and gres.conf of a site: lines that agree as a rule, with what people get wrong."""
    good = draw(st.sampled_from([[GOOD], [UNTYPED], [], []]))
    lines = [*good, *draw(st.lists(records(), min_size=0 if good else 1, max_size=1 if good else 3))]
    lines += draw(
        st.sampled_from(
            [[]] * 6
            + [["AutoDetect=off"], ["AutoDetect=nvml"], ["AutoDetect=rsmi"], ["AutoDetect=nvlm"]]
            + [["NodeName=gpu01 AutoDetect=off"], ["NodeName=gpu02 AutoDetect=nvml"], ["Name=gpu"], ["# no"]]
        )
    )
    gres = draw(
        st.sampled_from([TYPED_GRES] * 4 + [GRES] * 4 + ["Gres=gpu:h100:4", "Gres=gpu:12", "Gres=gpu", ""])
    )
    default = draw(st.sampled_from(["", "", f"NodeName=DEFAULT {GRES}\n"]))
    order = draw(st.permutations(lines))
    text = "\n".join(order) + "\n"
    comment = draw(st.sampled_from([b"", b"# caf\xe9\n", b"# \x85\n", "# é\n".encode()]))
    return {
        "slurm.conf": f"{HEAD}GresTypes=gpu\n{default}{NODE} {gres}\n",
        "gres.conf": comment + text.encode(),
    }


@given(files=sites())
@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_doctor_says_of_any_site_what_slurm_says(
    native: Native, machine: Path, files: dict[str, str | bytes]
) -> None:
    compare(native, machine, files)
