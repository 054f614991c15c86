"""Recipes of the places where HPC gets its software, read by the real tools where they are installed."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from numa_align import __version__

ROOT = Path(__file__).resolve().parents[2]
PACKAGING = ROOT / "packaging"
ANSIBLE = PACKAGING / "ansible"
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def tool(name: str) -> str:
    """A tool in PATH, or beside this Python."""
    found = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


# -- EasyBuild -------------------------------------------------------------------------------

RECIPE = PACKAGING / f"easybuild/numa-align-{__version__}-GCCcore-13.3.0.eb"


def test_the_easyconfig_is_of_this_version() -> None:
    text = RECIPE.read_text(encoding="utf-8")
    names = {node.targets[0].id for node in ast.parse(text).body if isinstance(node, ast.Assign)}  # type: ignore[attr-defined]
    assert {"name", "version", "toolchain", "sources", "sanity_check_paths"} <= names
    assert f"version = '{__version__}'" in text


def test_easybuild_parses_the_easyconfig(tmp_path: Path) -> None:
    program = (
        "from easybuild.tools.options import set_up_configuration\n"
        "from easybuild.framework.easyconfig.parser import EasyConfigParser\n"
        "import sys\n"
        "words = ['--prefix', sys.argv[2], '--allow-use-as-root-and-accept-consequences']\n"
        "set_up_configuration(args=words, silent=True)\n"
        "config = EasyConfigParser(sys.argv[1]).get_config_dict()\n"
        "print(config['name'], config['version'], config['easyblock'])\n"
    )
    eb = Path(tool("eb"))
    python = str(eb.with_name("python")) if eb.with_name("python").exists() else sys.executable
    command = [python, "-c", program, str(RECIPE), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout == f"numa-align {__version__} ConfigureMake\n", done.stderr


# -- Spack -----------------------------------------------------------------------------------


def test_the_spack_package_needs_what_pyproject_needs() -> None:
    text = (PACKAGING / "spack/package.py").read_text(encoding="utf-8")
    compile(text, "package.py", "exec")
    block = re.search(r"^dependencies = \[\n(.*?)^\]", PYPROJECT, re.DOTALL | re.MULTILINE)
    assert block
    needed = dict(re.findall(r'"([\w-]+)>=([\d.]+)"', block[1]))
    del needed["nvidia-ml-py"]  # asked for where it is installed, and done without where it is not
    assert dict(re.findall(r'"py-([\w-]+)@([\d.]+):"', text)).items() >= needed.items()
    assert f'version("{__version__}")' in text


# -- Ansible ---------------------------------------------------------------------------------


def test_ansible_lint_has_nothing_to_say() -> None:
    lint = tool("ansible-lint")
    environment = {**os.environ, "PATH": f"{Path(lint).parent}:{os.environ['PATH']}"}
    command = [lint, "--offline", "-q", "site.yml"]
    done = subprocess.run(
        command, cwd=ANSIBLE, env=environment, capture_output=True, text=True, check=False, timeout=200
    )
    assert done.returncode == 0, done.stdout


#: In a mount namespace of its own: what is installed and configured lands in memory.
ALONE = r"""
set -e
mkdir -p /etc/slurm /usr/local/share/man
for folder in /usr/local/lib /usr/local/bin /usr/local/sbin /usr/local/share/man /etc/slurm; do
    mount -t tmpfs none $folder
done
echo ClusterName=c >/etc/slurm/slurm.conf
exec "$@"
"""


@pytest.mark.matrix
def test_the_role_installs_once_and_takes_everything_away(tmp_path: Path) -> None:
    """Real files, real ansible, real make, and no daemon to restart."""
    playbook = tool("ansible-playbook")
    if os.geteuid() != 0:
        pytest.skip("needs root for a mount namespace")
    words = ["make", "-s", "archive", f"PACKAGES={tmp_path}"]
    subprocess.run(words, cwd=ROOT, check=True, timeout=60)
    archive = tmp_path / f"numa-align-{__version__}.tar.gz"
    variables = {
        "numa_align_source": str(archive),
        "numa_align_manage_slurm_conf": True,
        "numa_align_python": sys.executable,
        "ansible_become": False,
        "ansible_python_interpreter": "/usr/bin/python3",
    }
    given = tmp_path / "given.json"
    given.write_text(json.dumps(variables), encoding="utf-8")
    run = f"ANSIBLE_STDOUT_CALLBACK=default {playbook} -i localhost, -c local site.yml -e @{given}"
    look = "find /usr/local/lib /usr/local/bin /usr/local/sbin /usr/local/share/man /etc/slurm -type f | sort"
    script = f"""
    set -e
    {run} && {look} && echo ---- && {run} && echo ---- && cat /etc/slurm/slurm.conf && echo ---- &&
    {run} -e numa_align_state=remove && {look} && echo ---- && cat /etc/slurm/slurm.conf
    """
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", ALONE, "sh", "sh", "-c", script],
        cwd=ANSIBLE, capture_output=True, text=True, check=False, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    first, second, configured, removed, left = done.stdout.split("----\n")
    assert "/usr/local/sbin/numa-align-prolog" in first and "changed=0" not in first
    assert "changed=0 " in second
    assert "Prolog=/usr/local/sbin/numa-align-prolog" in configured
    assert "numa-align" not in removed.rpartition("PLAY RECAP")[2].replace("numa-align.conf", "")
    assert left == "ClusterName=c\n"
