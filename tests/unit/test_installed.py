"""A machine's Slurm is found wherever it is installed, else it is unknown: never guessed.

The programs of Slurm's here are fakes: scripts that print what the real ones print, and a `sleep` that is
called slurmd.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from builder import Machine, on_nodes
from numa_align.errors import ConfError
from numa_align.slurm_files import which_conf
from numa_align.slurm_files.gres_index import find_gres_conf
from numa_align.slurm_files.which_conf import GIVEN, conf_of, running_slurmd
from numa_align.sysfs import Tree
from numa_align_conf import installed, live
from numa_align_conf.cli import conf, doctor
from numa_align_conf.installed import command, slurm_conf
from numa_align_conf.version import KNOWN, Version, installed_version, parse_version, remark_on
from unit.programs import program
from unit.runner import runner

SAYS = "#!/bin/sh\necho slurm-wlm {}\n"


@pytest.fixture(autouse=True)
def no_slurm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever this host has."""
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.delenv("SLURM", raising=False)
    monkeypatch.delenv("SLURM_CONF", raising=False)
    monkeypatch.setattr(installed, "USUAL_PREFIXES", (str(tmp_path / "usual"),))


@pytest.fixture
def slurmd(tmp_path: Path) -> Iterator[Path]:
    """The prefix of a slurmd that runs."""
    prefix = tmp_path / "cm/slurm"
    (prefix / "sbin").mkdir(parents=True)
    shutil.copy("/bin/sleep", prefix / "sbin/slurmd")
    with subprocess.Popen([str(prefix / "sbin/slurmd"), "60"]) as process:
        deadline = time.monotonic() + 10
        while running_slurmd() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        yield prefix
        process.kill()


def test_no_slurm_is_none() -> None:
    assert installed_version() is None
    assert command("scontrol") is None


def test_slurm_names_the_prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "opt/bin/scontrol", SAYS.format("24.11.5"))
    monkeypatch.setenv("SLURM", str(tmp_path / "opt"))
    assert installed_version() == (24, 11)


def test_a_usual_prefix_is_found_without_path(tmp_path: Path) -> None:
    program(tmp_path / "usual/sbin/slurmctld", SAYS.format("25.05.1"))
    assert installed_version() == (25, 5)


def test_the_slurmd_that_runs_says_where_slurm_is(slurmd: Path, tmp_path: Path) -> None:
    program(tmp_path / "usual/bin/scontrol", SAYS.format("22.05.8"))
    program(slurmd / "bin/scontrol", SAYS.format("25.11.2"))
    (slurmd / "etc").mkdir()
    (slurmd / "etc/slurm.conf").write_text("ClusterName=x\n")
    assert installed_version() == (25, 11)
    assert slurm_conf() == slurmd / "etc/slurm.conf"


@pytest.mark.parametrize(
    ("words", "path"),
    [
        (["-D"], None),
        (["-f", "/opt/s.conf"], "/opt/s.conf"),
        (["-D", "-f/opt/s.conf"], "/opt/s.conf"),
        (["--conf-server", "ctl:6817"], f"/{GIVEN}/slurm.conf"),
        (["-D", "--conf-server=ctl"], f"/{GIVEN}/slurm.conf"),
    ],
)
def test_slurmds_command_line_says_which_slurm_conf(words: list[str], path: str | None) -> None:
    assert conf_of(words) == path


def test_slurm_conf_is_the_users_word_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "mine.conf"))
    assert slurm_conf() == tmp_path / "mine.conf"


@pytest.mark.parametrize("answer", ["", "slurm 21.08.8", "nonsense", "slurm 24.12.1"])
def test_a_release_that_is_not_supported_is_not_known(answer: str, tmp_path: Path) -> None:
    program(tmp_path / "usual/bin/scontrol", f"#!/bin/sh\necho {answer}\n")
    assert installed_version() is None


# -- conf and doctor -----------------------------------------------------------------------------


def node(tmp_path: Path) -> Path:
    return Machine(packages=2, gpus=on_nodes(0, 1)).write(tmp_path / "machine")


def test_conf_asks_for_a_release_that_it_does_not_know(tmp_path: Path) -> None:
    words = ["slurm", "--root", str(node(tmp_path)), "--node", "n1"]
    result = runner().invoke(conf.command, words)
    assert isinstance(result.exception, ConfError)
    assert "give --slurm-version X.Y" in str(result.exception)
    assert result.stdout == ""


def test_a_newer_release_gets_the_newest_rules_and_a_note(tmp_path: Path) -> None:
    words = ["slurm", "--root", str(node(tmp_path)), "--node", "n1", "--slurm-version"]
    newest = runner().invoke(conf.command, [*words, str(KNOWN[-1])])
    newer = runner().invoke(conf.command, [*words, "31.05"])
    assert newer.exit_code == 0
    assert "31.05 is newer" in newer.stderr and "31.05 is newer" not in newest.stderr
    assert newer.stdout.replace("31.05", str(KNOWN[-1])) == newest.stdout


def test_releases_between_and_before_those_known_are_an_error() -> None:
    assert remark_on(parse_version("26.11.0-0rc1")) is None
    for text in ("24.12", "20.11", "x"):
        with pytest.raises(ConfError, match="is not known"):
            parse_version(text)
    assert parse_version("27.05.1") == Version(27, 5)


@pytest.mark.parametrize(("version", "says"), [(None, "release is not known"), ("31.05", "newer than any")])
def test_doctor_says_that_it_does_not_know(version: str | None, says: str, tmp_path: Path) -> None:
    root = node(tmp_path)
    (root / "etc/slurm").mkdir(parents=True)
    (root / "etc/slurm/slurm.conf").write_text("ClusterName=x\nNodeName=n1 CPUs=2\n")
    plugin = Path(__file__).resolve().parents[2] / "spank/build/numa-align.so"
    (root / "etc/slurm/plugstack.conf").write_text("optional /opt/numa-align.so\n")
    (root / "opt").mkdir()
    shutil.copy(plugin, root / "opt/numa-align.so")
    words = ["--json", "--root", str(root), "--node-name", "n1"]
    result = runner().invoke(doctor.command, words + (["--slurm-version", version] if version else []))
    findings = json.loads(result.stdout)["findings"]
    (finding,) = (one for one in findings if one["check"] == "slurm-version")
    assert finding["status"] == "warn" and says in finding["what"]
    assert not any("fits this Slurm" in one["what"] for one in findings)


# -- pyslurm and scontrol ------------------------------------------------------------------------

#: Fakes of pyslurm, which is built for one release of Slurm; the first is its interface as it is.
GOOD = """
class Node:
    sockets, cores_per_socket, threads_per_core, real_memory = 2, 8, 2, 1000
    @staticmethod
    def load(name):
        print("libslurm: info: something", flush=True)
        return Node()
"""
TEXT = "NodeName=n1 CoresPerSocket=8 CPUTot=32 RealMemory=1000 Sockets=2 ThreadsPerCore=2 CpuSpecList=0"
SCONTROL = f"""#!/bin/sh
echo called >>$0.calls
case "$*" in *--json) exit 1;; esac
echo '{TEXT}'
"""


@pytest.fixture
def pyslurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder / "pyslurm.py"


def test_pyslurm_is_asked_and_scontrol_trusted_for_reserved_cpus(pyslurm: Path, tmp_path: Path) -> None:
    pyslurm.write_text(GOOD)
    program(tmp_path / "usual/bin/scontrol", SCONTROL)
    found = live.declared_node("n1")
    assert found is not None
    assert (found.source, found.sockets, found.threads, found.spec_cpus) == ("pyslurm", 2, 2, (0,))


@pytest.mark.parametrize(
    "text",
    [
        "import os; os._exit(1)",
        "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
        "raise ImportError('built for another Slurm')",
        "import sys; sys.exit('fatal: Unable to process configuration file')",
        "class Node: pass",
        GOOD.replace("= 2, 8, 2, 1000", "= 2, None, 2, 1000"),
        "import atexit; atexit.register(print, 'not this'); print(1)",
    ],
)
def test_any_end_of_pyslurm_means_that_it_is_not_there(text: str, pyslurm: Path, tmp_path: Path) -> None:
    pyslurm.write_text(text)
    program(tmp_path / "usual/bin/scontrol", SCONTROL)
    found = live.declared_node("n1")
    assert found is not None and found.source == "scontrol"


@pytest.mark.parametrize("who", ["pyslurm", "scontrol"])
def test_a_dead_slurmctld_is_asked_once(
    who: str, pyslurm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_LIMIT", 2.0)  # enough to be called on a busy host
    pyslurm.write_text("import time; time.sleep(60)" if who == "pyslurm" else "raise ImportError")
    scontrol = program(
        tmp_path / "usual/bin/scontrol", "#!/bin/sh\necho called >>$0.calls\nexec /bin/sleep 60\n"
    )
    begin = time.monotonic()
    assert live.declared_node("n1") is None
    assert time.monotonic() - begin < 30  # a second question would wait for the 60 s of the fakes
    calls = scontrol.with_name("scontrol.calls")
    assert len(calls.read_text().splitlines() if calls.exists() else []) == (1 if who == "scontrol" else 0)


# -- A file that was left over, below a root ---------------------------------------------------------


def left_over(tmp_path: Path, words: tuple[str, ...] | None) -> Tree:
    """Files in both places, and a slurmd with these words; None: none is to be seen."""
    for folder in ("etc/slurm", GIVEN):
        (tmp_path / folder).mkdir(parents=True)
        for name in ("slurm.conf", "gres.conf"):
            (tmp_path / folder / name).write_text("")
    if words is not None:
        process = tmp_path / "proc/77"
        process.mkdir(parents=True)
        (process / "comm").write_text("slurmd\n")
        (process / "cmdline").write_text("\0".join(["/usr/sbin/slurmd", *words, ""]))
    return Tree(tmp_path)


@pytest.mark.parametrize(
    ("words", "folder"),
    [
        (None, GIVEN),
        (("-D", "--conf-server", "ctl"), GIVEN),
        (("--conf-server=ctl:6817",), GIVEN),
        (("-D", "-s"), "etc/slurm"),
        (("-D", "-f", "/etc/slurm/slurm.conf"), "etc/slurm"),
        ((), GIVEN),  # what another user's process was started with may be hidden
    ],
)
def test_the_files_that_slurmd_reads_count(
    words: tuple[str, ...] | None, folder: str, tmp_path: Path
) -> None:
    tree = left_over(tmp_path, words)
    assert which_conf.slurm_conf(tree) == str(tmp_path / folder / "slurm.conf")
    assert find_gres_conf(tree) == str(tmp_path / folder / "gres.conf")


def test_slurms_own_word_wins_over_what_lies_about(tmp_path: Path) -> None:
    tree = left_over(tmp_path, ("--conf-server", "ctl"))
    named = tmp_path / "mine/slurm.conf"
    named.parent.mkdir()
    named.write_text("")
    assert which_conf.slurm_conf(tree, str(named)) == str(named)
    assert find_gres_conf(tree, str(named)) is None
