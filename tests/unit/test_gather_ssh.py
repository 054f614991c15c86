"""`numa-align audit --all` through the real ClusterShell and the real ssh, to a real server of that protocol.

What is not real: all "nodes" are this machine, each in a UTS namespace that gives it a name, and sinfo is a
fake (tests/native holds the real one's output against the reader).
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest
from unit.programs import program

asyncssh = pytest.importorskip("asyncssh")

NODES = ("gpu1", "gpu2")
SINFO = """#!/bin/sh
printf '%s\\n' 'gpu1|gpu:h100:8' 'gpu2|gpu:2,shard:4' 'gpu3|gpu:2' 'gpu4|gpu:2' 'cpu1|(null)'
"""
#: A node that cannot be reached, and one that does not take the key.
SSH_CONFIG = """
Host *
  HostName 127.0.0.1
  BatchMode yes
  IdentitiesOnly yes
  UserKnownHostsFile /dev/null
  StrictHostKeyChecking no
  ConnectTimeout 5
Host * !gpu4
  IdentityFile {folder}/key
Host gpu1
  Port {gpu1}
Host gpu2
  Port {gpu2}
Host gpu3
  Port 1
Host gpu4
  Port {gpu2}
  IdentityFile {folder}/other
"""
IN_UTS = ["unshare", "--user", "--map-root-user", "--uts"]


def with_the_command() -> dict[str, str]:
    """This process's environment with `numa-align` in PATH."""
    return {**os.environ, "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}


async def serve(folder: Path, key: object, stop: asyncio.Future[None], ports: Future[dict[str, int]]) -> None:
    """A server for each node: it runs each command in a namespace with the node's name."""

    def on(node: str) -> object:
        async def run(process: object) -> None:
            words = [*IN_UTS, "sh", "-c", f'echo {node} >/proc/sys/kernel/hostname; exec sh -c "$0"']
            ran = await asyncio.create_subprocess_exec(
                *words,
                process.command,  # type: ignore[attr-defined]
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=with_the_command(),
            )
            out, err = await ran.communicate()
            process.stdout.write(out.decode())  # type: ignore[attr-defined]
            process.stderr.write(err.decode())  # type: ignore[attr-defined]
            process.exit(ran.returncode)  # type: ignore[attr-defined]

        return run

    known = str(folder / "key.pub")
    try:
        servers = {
            node: await asyncssh.listen(
                "127.0.0.1", 0, server_host_keys=[key], authorized_client_keys=known, process_factory=on(node)
            )
            for node in NODES
        }
    except BaseException as error:
        ports.set_exception(error)
        raise
    ports.set_result({node: server.get_port() for node, server in servers.items()})
    await stop
    for server in servers.values():
        server.close()


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """That of a command on a node from which ssh reaches two of the four nodes that have GPUs."""
    if shutil.which("ssh") is None or subprocess.run([*IN_UTS, "true"], check=False).returncode != 0:
        pytest.skip("needs ssh, and user namespaces that may set the name of the host")
    key = asyncssh.generate_private_key("ssh-ed25519")
    for name, one in (("key", key), ("other", asyncssh.generate_private_key("ssh-ed25519"))):
        one.write_private_key(str(tmp_path / name))
        (tmp_path / name).chmod(0o600)
        one.write_public_key(str(tmp_path / f"{name}.pub"))
    loop, ports = asyncio.new_event_loop(), Future[dict[str, int]]()
    stop = loop.create_future()  # an Event would be of another loop before Python 3.10
    thread = threading.Thread(target=lambda: loop.run_until_complete(serve(tmp_path, key, stop, ports)))
    thread.start()
    try:
        config = SSH_CONFIG.format(folder=tmp_path, **ports.result(timeout=20))
        (tmp_path / "ssh_config").write_text(config)
        # ssh reads ~/.ssh/config of the password file's home, whatever HOME says; it takes another by option.
        scripts = {
            "ssh": f'#!/bin/sh\nexec {shutil.which("ssh")} -F {tmp_path}/ssh_config "$@"\n',
            "sinfo": SINFO,
        }
        for name, text in scripts.items():
            program(tmp_path / name, text)
        client = with_the_command()
        yield {**client, "PATH": os.pathsep.join([str(tmp_path), client["PATH"]])}
    finally:
        loop.call_soon_threadsafe(stop.set_result, None)
        thread.join(20)
        loop.close()


def test_audit_all_asks_each_node_over_ssh_and_names_the_silent(environment: dict[str, str]) -> None:
    done = subprocess.run(
        ["numa-align", "audit", "--all", "--json"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert [json.loads(line)["node"] for line in done.stdout.splitlines()] == list(NODES), done.stderr
    assert "gpu3 did not answer" in done.stderr and "refused" in done.stderr
    assert "gpu4 did not answer" in done.stderr and "Permission denied" in done.stderr
    assert "gpu1" not in done.stderr and "cpu1" not in done.stderr and "Traceback" not in done.stderr
