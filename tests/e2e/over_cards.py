"""Run as a task: which network cards it is told of, may open and sends over, as one line of JSON.

``over_cards.py send`` has UCX send to itself as well: over which cards is UCX's own word, and that of the
kernel, which counts the packets of each card. The tasks of a step take turns, so that a packet has one
sender.
It shares no code with the project, so that it cannot share a mistake.
"""

import fcntl
import json
import os
import pty
import re
import socket
import subprocess
import sys
from pathlib import Path

DEVICES = Path("/sys/class/infiniband")
FILES = Path("/sys/class/infiniband_verbs")

#: Two processes of one machine would share memory. Up to 1.18 UCX asks a field that only Mellanox's cards
#: fill in whether a packet is IPv4, and its check of addresses drops those of all others. Large messages go
#: over all cards that a process has.
UCX = {
    "UCX_TLS": "ib",
    "UCX_UD_VERBS_ETH_DGID_CHECK": "n",
    "UCX_RNDV_THRESH": "8192",
    "UCX_LOG_LEVEL": "info",
}


def told() -> list[str]:
    words = os.environ.get("UCX_NET_DEVICES", "").split(",")
    return [word.partition(":")[0] for word in words if word]


def opened() -> list[str]:
    found = []
    for file in sorted(FILES.glob("uverbs*")):
        try:
            os.close(os.open(f"/dev/infiniband/{file.name}", os.O_RDWR))
        except PermissionError:
            continue
        found.append((file / "ibdev").read_text().strip())
    return found


def packets() -> dict[str, int]:
    return {
        device.name: int((device / "ports/1/hw_counters/sent_pkts").read_text())
        for device in DEVICES.iterdir()
    }


def named_in(text: str) -> list[str]:
    """The devices of UCX's resources, ``rc_verbs/rxe0:1``."""
    return sorted(set(re.findall(r"_verbs/(\w+):", text)))


def send() -> str:
    """What UCX says of it. Without a terminal for its input ucx_perftest starts MPI, which takes longer."""
    with socket.socket() as held:
        held.bind(("", 0))
        port = held.getsockname()[1]
    ours, theirs = pty.openpty()
    words = ["ucx_perftest", "-P", "0", "-p", str(port)]
    environment = {**os.environ, **UCX}
    with subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as server:
        said = b""
        while b"Waiting for connection" not in said:
            said += os.read(ours, 4096)
        what = ["localhost", "-t", "tag_bw", "-s", "262144", "-n", "8", "-w", "1"]
        client = subprocess.run(
            [*words, *what], stdin=theirs, stdout=subprocess.PIPE, text=True, env=environment, check=False
        )
        server.kill()
    if client.returncode:
        sys.exit(client.stdout[-2000:])
    return client.stdout


line = {"rank": int(os.environ["SLURM_PROCID"]), "told": told(), "opened": opened()}
if sys.argv[1:] == ["send"]:
    with open(f"/tmp/turn-{os.environ['SLURM_JOB_ID']}", "w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        before = packets()
        line["used"] = named_in("\n".join(x for x in send().splitlines() if "cfg#" in x))
        line["sent"] = sorted(name for name, count in packets().items() if count > before[name])
    listing = subprocess.run(["ucx_info", "-p", "-u", "t"], stdout=subprocess.PIPE, text=True, check=True)
    line["listed"] = named_in(listing.stdout)
print(json.dumps(line))
