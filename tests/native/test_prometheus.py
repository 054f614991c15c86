"""The metrics of `numa-align audit`, scraped by Debian's node exporter and Prometheus."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from numa_align.audit.metrics import write_metrics
from numa_align.audit.model import Sample, TaskSample, totals

PROGRAMS = ("prometheus", "prometheus-node-exporter")

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, PROGRAMS)), reason=f"needs {' and '.join(PROGRAMS)}"
)

Query = Callable[[str], list[dict[str, Any]]]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@pytest.fixture
def query(tmp_path: Path) -> Iterator[Query]:
    """Asks a Prometheus that scrapes the folder ``metrics`` of tmp_path each half second."""
    exporter, server = free_port(), free_port()
    (tmp_path / "metrics").mkdir()
    config = {
        "global": {"scrape_interval": "500ms", "scrape_timeout": "400ms"},
        "scrape_configs": [
            {
                "job_name": "node",
                "honor_labels": True,
                "static_configs": [{"targets": [f"127.0.0.1:{exporter}"]}],
            }
        ],
    }
    (tmp_path / "prometheus.yml").write_text(json.dumps(config))  # YAML is a superset of JSON
    commands = (
        [
            PROGRAMS[1],
            "--collector.disable-defaults",
            "--collector.textfile",
            f"--collector.textfile.directory={tmp_path / 'metrics'}",
            f"--web.listen-address=127.0.0.1:{exporter}",
        ],
        [
            PROGRAMS[0],
            f"--config.file={tmp_path / 'prometheus.yml'}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address=127.0.0.1:{server}",
        ],
    )
    running = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path)
        for command in commands
    ]

    def ask(expression: str) -> list[dict[str, Any]]:
        words = urllib.parse.urlencode({"query": expression})
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{server}/api/v1/query?{words}", timeout=5
            ) as answer:
                found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
                return found
        except OSError:
            return []  # not up yet

    try:
        yield ask
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait(30)


def wait_for(query: Query, expression: str, value: float) -> dict[str, Any]:
    """The series that has this value, once it has; the time limit is for a busy host."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        for series in query(expression):
            if float(series["value"][1]) == value:
                labels: dict[str, Any] = series["metric"]
                return labels
        time.sleep(0.1)
    raise AssertionError(f"{expression} is not {value}: {query(expression)}")


def test_what_prometheus_scrapes_is_what_the_sample_says(query: Query, tmp_path: Path) -> None:
    gpus = ("0000:11:00.0", "0000:12:00.0", "0000:13:00.0")
    tasks = (
        TaskSample(7, "0", 0, "ann", gpus[:1], "0-3", "preferred-many:0", 1000, 990, "aligned", None, None),
        TaskSample(8, "0", 0, "bob", gpus[1:], "4-7", "default", 500, 5, "unaligned", "not-asked", "far"),
    )
    now = time.time()
    path = tmp_path / "metrics/numa_align.prom"
    write_metrics(path, Sample("gpu01", now - 60, 8, tasks))
    sample = Sample("gpu01", now, 8, tasks, idle_near_cores=2)
    write_metrics(path, sample)
    total = totals([sample])
    wait_for(query, 'numa_align_gpus{state="aligned"}', total.by_state["aligned"])
    wait_for(query, 'numa_align_gpus{state="unaligned"}', total.by_state["unaligned"])
    wait_for(query, "sum(numa_align_memory_bytes)", total.bytes)
    wait_for(query, 'numa_align_gpu_seconds_total{state="unaligned"}', 120)
    labels = wait_for(query, 'numa_align_job_gpus{state="unaligned"}', 2)
    assert (labels["job"], labels["user"]) == ("8", "bob")
