"""`make dist`: what lies beside a release's files is true of them."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from importlib.metadata import requires
from pathlib import Path

import pytest
from numa_align import __version__

ROOT = Path(__file__).resolve().parents[2]
SBOM = f"numa-align-{__version__}.cdx.json"
ARCHIVE = f"numa-align-{__version__}.tar.gz"


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a release whose only package is the archive of the sources."""
    folder = tmp_path_factory.mktemp("release")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a git repository: these sources are an archive themselves")
    subprocess.run(
        ["sh", "-c", 'tar -c --null -T - | tar -x -C "$1"', "sh", str(folder)],
        cwd=ROOT, input=listed.stdout, check=True,
    )  # fmt: skip
    words = ["make", "-s", "dist", "DIST_KINDS=archive", "SOURCE_DATE_EPOCH=1700000000"]
    subprocess.run(words, cwd=folder, check=True, capture_output=True, timeout=120)
    return folder / "build/packages"


def test_the_sums_are_of_all_files_of_a_release(release: Path) -> None:
    sums = (release / "SHA256SUMS").read_text(encoding="ascii")
    assert {line.split()[1] for line in sums.splitlines()} == {ARCHIVE, SBOM}
    checked = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    subprocess.run(checked, cwd=release, check=True, capture_output=True)


def test_the_sbom_needs_what_the_package_needs(release: Path) -> None:
    """The package's metadata are what setuptools has made of pyproject.toml."""
    document = json.loads((release / SBOM).read_text(encoding="utf-8"))
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.5")
    assert document["metadata"]["component"]["version"] == __version__
    libraries = [part for part in document["components"] if part["type"] == "library"]
    wanted = {}
    for line in requires("numa-align") or ():
        if "extra ==" not in line:
            name = re.split("[<>=!~ ]", line, maxsplit=1)[0]
            wanted[name] = line[len(name) :].strip()
    assert {part["name"]: part["description"].partition(", ")[2] for part in libraries} == wanted
    assert {part["purl"] for part in libraries} == {f"pkg:pypi/{name}" for name in wanted}
    (needs,) = document["dependencies"]
    assert set(needs["dependsOn"]) == {part["bom-ref"] for part in libraries}


def test_the_sbom_has_the_sums_of_the_files(release: Path) -> None:
    document = json.loads((release / SBOM).read_text(encoding="utf-8"))
    files = {part["name"]: part["hashes"] for part in document["components"] if part["type"] == "file"}
    digest = hashlib.sha256((release / ARCHIVE).read_bytes()).hexdigest()
    assert files == {ARCHIVE: [{"alg": "SHA-256", "content": digest}]}
