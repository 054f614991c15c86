"""What the documentation's pages for users show is true: scripts, links, sentences that it explains."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from numa_align.names import STATES

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
SCRIPTS = re.findall(r"```bash\n(#!.*?)```", (DOCS / "examples.md").read_text(encoding="utf-8"), re.DOTALL)


def options_of(script: str) -> dict[str, str]:
    """The #SBATCH options and their values."""
    return dict(re.findall(r"^#SBATCH --([\w-]+)=?(\S*)$", script, re.MULTILINE))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: options_of(script)["job-name"])
def test_a_script_is_bash_and_asks_for_alignment(script: str) -> None:
    subprocess.run(["bash", "-n"], input=script, text=True, check=True, timeout=20)
    assert "numa-align" in options_of(script)
    assert re.search(r"^srun ", script, re.MULTILINE)
    # srun has not inherited it since 22.05 (RELEASE_NOTES of that release).
    assert "cpus-per-task" in options_of(script)
    assert "export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK\n" in script


def test_there_is_a_script_for_each_kind_of_job() -> None:
    assert len(SCRIPTS) == 4


def test_every_reason_in_what_now_is_one_that_is_said() -> None:
    sources = [*ROOT.glob("spank/placement/explain.c"), *ROOT.glob("prolog/numa_align/process/*.py")]
    said = " ".join(path.read_text(encoding="utf-8") for path in sources)
    said = re.sub(r'"\s*\n\s*"', "", said)
    rows = re.findall(r"^\| (.*?) \|", (DOCS / "what-now.md").read_text(encoding="utf-8"), re.MULTILINE)
    sentences = [text for row in rows[2:] for text in re.findall(r"\*(.+?)\*", row)]
    assert len(sentences) >= 10
    for sentence in sentences:
        parts = (part.strip() for part in re.split(r"\bn of m\b|\bn %|…", sentence))
        for part in parts:
            assert part in said, f"nothing says {part!r}"


@pytest.mark.parametrize("state", STATES)
def test_what_now_and_the_first_page_know_every_state(state: str) -> None:
    for page in ("affected.md", "what-now.md"):
        assert state in (DOCS / page).read_text(encoding="utf-8"), page


@pytest.mark.parametrize("page", sorted(DOCS.glob("**/*.md")), ids=lambda page: page.name)
def test_every_page_is_in_the_navigation(page: Path) -> None:
    listed = re.findall(r"([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert str(page.relative_to(DOCS)) in listed


def test_the_site_loads_nothing_from_other_hosts(tmp_path: Path) -> None:
    words = ["-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    subprocess.run([sys.executable, *words], cwd=ROOT, check=True, timeout=120, capture_output=True)
    loaded = re.compile(r"""<(?:script|link|img)[^>]*(?:src|href)=["']?(https?:)?//""")
    for file in tmp_path.glob("**/*.html"):
        found = loaded.search(file.read_text(encoding="utf-8"))
        assert found is None, (file.name, found and found[0])
