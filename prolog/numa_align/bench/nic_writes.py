"""RDMA writes from memory of one node through a network card to itself, by perftest's ib_write_bw.

Both ends run on the CPUs of the node with their memory on it. What is measured is the way between the
node and the card, as a card sends to itself no faster than over the cable.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import RequestError
from ..placement.visible import may_open
from ..topology.model import Nic, Node, Topology
from .host_memory import Effort, on_node

PROGRAM = "ib_write_bw"

#: The others need options or programs of their own: iWARP a connection manager, EFA a transport without
#: writes on some cards; Slingshot has no verbs.
_KINDS = ("infiniband", "roce")

_LIMIT = 60.0
_PAUSE = 0.02

_LISTENS = "0A"


@dataclass(frozen=True)
class Write:
    """Writes by CPUs of one node from its memory, through a card to itself."""

    node: int
    nic: str
    gb_s: float


def measurable(topology: Topology) -> list[Nic]:
    """The cards that can be measured and that this process may open; none where perftest is not installed."""
    if shutil.which(PROGRAM) is None:
        return []
    return [
        nic
        for nic in topology.nics
        if nic.kind in _KINDS and nic.name and nic.ports and nic.device and may_open(nic.device)
    ]


def measure_nic(nic: Nic, node: Node, cpus: tuple[int, ...], effort: Effort) -> Write:
    """One card from one node. Raises BindError, and RequestError with what the program says if it fails."""
    port = _free_port()
    words = [
        PROGRAM,
        f"--ib-dev={nic.name}",
        f"--ib-port={nic.ports[0]}",
        f"--port={port}",
        f"--iters={effort.writes}",
        "--CPU-freq",  # a frequency that changes is no error
        "--report_gbits",
        "--output=bandwidth",
    ]
    with on_node(cpus, node.id), _serving(words, port):
        try:
            done = subprocess.run(
                [*words, "localhost"], capture_output=True, text=True, check=False, timeout=_LIMIT
            )
        except subprocess.TimeoutExpired as error:
            raise RequestError(f"{PROGRAM} was not done after {_LIMIT:g} s") from error
    try:
        gbits = float(done.stdout.split()[-1])
    except (IndexError, ValueError):
        raise RequestError(_failure(done.stdout + done.stderr)) from None
    assert nic.name is not None  # see `measurable`
    return Write(node.id, nic.name, round(gbits / 8, 3))


def _free_port() -> int:
    with socket.socket() as held:
        held.bind(("", 0))
        return int(held.getsockname()[1])


@contextlib.contextmanager
def _serving(words: Sequence[str], port: int) -> Iterator[None]:
    """The program as the other end, which waits for one client."""
    with subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as server:
        try:
            _await_listening(server, port)
            yield
        finally:
            server.kill()


def _await_listening(server: subprocess.Popen[str], port: int) -> None:
    """By the kernel's table, as a connection on trial would be the one that the server waits for."""
    deadline = time.monotonic() + _LIMIT
    while not _listens(port):
        if server.poll() is not None and server.stdout is not None:
            raise RequestError(_failure(server.stdout.read()))
        if time.monotonic() > deadline:
            raise RequestError(f"{PROGRAM} did not listen after {_LIMIT:g} s")
        time.sleep(_PAUSE)


def _listens(port: int) -> bool:
    """See proc_net_tcp.rst in the kernel's Documentation/networking."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            rows = [line.split() for line in Path(table).read_text().splitlines()[1:]]
            if any(row[1].endswith(f":{port:04X}") and row[3] == _LISTENS for row in rows):
                return True
    return False


def _failure(said: str) -> str:
    return f"{PROGRAM} failed: {' '.join(said.split())[-200:] or 'it says nothing'}"
