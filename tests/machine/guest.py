"""Run commands and copy files in a guest, through QEMU's guest agent.

The agent is a program of Debian (qemu-guest-agent) that answers JSON on a virtio serial port; qemu.qmp speaks
that protocol once its greeting and negotiation, which only QEMU itself has, are switched off. Every wait here
has a limit.
"""

from __future__ import annotations

import base64
import contextlib
import io
import shlex
import tarfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Union, cast

from qemu.qmp import QMPClient, QMPError

from . import background

Command = Union[str, Sequence[str]]
"""A list of words, or a text for bash."""

ANSWER_LIMIT = 60.0
"""Seconds for one answer of the agent, which may wait behind a guest whose CPUs are all busy."""

MESSAGE_LIMIT = 64 * 1024 * 1024
"""Bytes of one answer; the agent itself stops collecting a command's output at 16 MiB."""

FIRST_PAUSE, LONGEST_PAUSE = 0.02, 0.1

MOMENT = 0.2

USERS: dict[str, int] = {"root": 0, "user": 1000, "mallory": 1001}

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Result:
    """What a command did. `status` is 128 + N if signal N ended it."""

    command: str
    user: str
    status: int
    stdout: str
    stderr: str
    seconds: float

    def transcript(self) -> str:
        prompt = "#" if self.user == "root" else "$"
        parts = [f"{self.user} {prompt} {self.command}"]
        if self.stdout:
            parts.append(self.stdout.rstrip("\n"))
        if self.stderr:
            parts.append(f"--- standard error\n{self.stderr.rstrip()}")
        parts.append(f"--- status {self.status} after {self.seconds:.1f} s")
        return "\n".join(parts)


class CommandError(AssertionError):
    """A command of the guest failed; the message is its transcript and whatever the machine adds (daemons'
    logs)."""

    def __init__(self, result: Result, reason: str, more: str = "") -> None:
        self.result = result
        super().__init__("\n".join(part for part in (reason, result.transcript(), more) if part))


class CommandTimeoutError(CommandError):
    """A command of the guest ran past its limit and was killed with its session."""


class Running:
    """A command that has been started; `wait` ends it one way or the other."""

    def __init__(self, guest: Guest, pid: int, command: str, user: str) -> None:
        self.pid = pid
        self._guest = guest
        self._command = command
        self._user = user
        self._begin = time.monotonic()
        self._result: Result | None = None

    def poll(self) -> Result | None:
        """The result if the command has ended; the agent tells it only once, so it is kept."""
        if self._result is None:
            status = self._guest.ask("guest-exec-status", pid=self.pid)
            if status["exited"]:
                self._result = Result(
                    command=self._command,
                    user=self._user,
                    status=128 + status["signal"] if "signal" in status else status.get("exitcode", -1),
                    stdout=_decode(status.get("out-data")),
                    stderr=_decode(status.get("err-data")),
                    seconds=time.monotonic() - self._begin,
                )
        return self._result

    def wait(self, timeout: float, check: bool = False) -> Result:
        result = self._await(timeout)
        if result is None:
            result = self.kill()
            raise CommandTimeoutError(result, f"not done after {timeout:g} s", self._guest.evidence())
        if check and result.status:
            raise CommandError(result, f"status {result.status}", self._guest.evidence())
        return result

    def kill(self) -> Result:
        """End the command's whole session, politely first: srun takes its job steps with it on SIGTERM."""
        for signal, patience in (("TERM", 5.0), ("KILL", 20.0)):
            self._guest.run(["pkill", f"-{signal}", "-s", str(self.pid)], timeout=ANSWER_LIMIT)
            result = self._await(patience)
            if result is not None:
                return result
        seconds = time.monotonic() - self._begin
        return Result(self._command, self._user, -1, "", "(could not be killed)", seconds)

    def _await(self, timeout: float) -> Result | None:
        deadline = time.monotonic() + timeout
        pause = FIRST_PAUSE
        while True:
            result = self.poll()
            left = deadline - time.monotonic()
            if result is not None or left <= 0:
                return result
            time.sleep(min(pause, left))
            pause = min(pause * 1.5, LONGEST_PAUSE)


class Runs(ABC):
    """Where commands can be run: a guest, or the machine around it."""

    @abstractmethod
    def start(
        self,
        command: Command,
        *,
        user: str = "root",
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        stdin: str | bytes | None = None,
    ) -> Running:
        """Start a command and return at once."""

    def run(
        self,
        command: Command,
        *,
        user: str = "root",
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        stdin: str | bytes | None = None,
        timeout: float = 120.0,
        check: bool = False,
    ) -> Result:
        """Run a command to its end. CommandTimeoutError if it takes too long; CommandError if it fails and
        `check` is set."""
        return self.start(command, user=user, env=env, cwd=cwd, stdin=stdin).wait(timeout, check)


class Guest(Runs):
    """The commands and files of a running guest. Several threads may use it at once."""

    def __init__(self, socket: Path, alive: Callable[[], None], evidence: Callable[[], str]) -> None:
        """`alive` raises if the guest is gone; `evidence` is what a failed command's transcript ends with."""
        self._socket = socket
        self._alive = alive
        self.evidence = evidence
        self._client: QMPClient | None = None

    def connect(self, timeout: float) -> None:
        """Wait until the agent answers.

        A request sent before the agent runs stays in the socket until the guest opens its end, so one ping is
        enough.
        """
        deadline = time.monotonic() + timeout
        while not self._socket.exists():
            self._alive()
            if time.monotonic() > deadline:
                raise TimeoutError(f"QEMU made no socket within {timeout:g} s")
            time.sleep(0.02)
        self._client = background.wait_for(self._connected(), ANSWER_LIMIT)
        ping = background.begin(self._client.execute("guest-ping"))
        while not ping.done():
            self._alive()
            if time.monotonic() > deadline:
                ping.cancel()
                raise TimeoutError(f"the guest's agent did not answer within {timeout:g} s")
            time.sleep(0.02)
        with self._cut_off_by_qemu():
            ping.result()

    @contextlib.contextmanager
    def _cut_off_by_qemu(self) -> Iterator[None]:
        """If QEMU has ended, that is the better error; its status is available shortly after its socket."""
        try:
            yield
        except (TimeoutError, EOFError, ConnectionError, QMPError):
            time.sleep(MOMENT)
            self._alive()
            raise

    async def _connected(self) -> QMPClient:
        client = QMPClient("guest")
        client.await_greeting = False
        client.negotiate = False
        client.readbuflen = MESSAGE_LIMIT
        await client.connect(str(self._socket))
        return client

    def disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(Exception):
                background.wait_for(client.disconnect(), 5.0)

    def ask(self, request: str, **arguments: object) -> dict[str, Any]:
        """One request of the agent's own protocol."""
        with self._cut_off_by_qemu():
            return cast(dict[str, Any], self._ask(request, arguments, ANSWER_LIMIT))

    def _ask(self, request: str, arguments: Mapping[str, object], limit: float) -> object:
        if self._client is None:
            raise RuntimeError("the guest is not connected")
        return background.wait_for(self._client.execute(request, dict(arguments)), limit)

    def start(
        self,
        command: Command,
        *,
        user: str = "root",
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        stdin: str | bytes | None = None,
    ) -> Running:
        """Start a command and return at once.

        It leads a session of its own, by which it can be killed with all that it started. What it leaves
        running must not hold its output open, else the agent waits for that too.
        """
        home = "/root" if user == "root" else f"/home/{user}"
        folder = cwd or home
        if isinstance(command, str):
            shown, words = command, ["/bin/bash", "-c", f"cd {shlex.quote(folder)} || exit\n{command}"]
        else:
            shown, words = " ".join(map(shlex.quote, command)), ["env", f"--chdir={folder}", *command]
        if user != "root":
            number = str(USERS[user])
            words = ["setpriv", "--reuid", number, "--regid", number, "--init-groups", *words]
        environment = {"PATH": PATH, "HOME": home, "USER": user, "LOGNAME": user, "LANG": "C.UTF-8"}
        arguments: dict[str, object] = {
            "path": "/usr/bin/setsid",
            "arg": words,
            "env": [f"{name}={value}" for name, value in {**environment, **(env or {})}.items()],
            "capture-output": True,
        }
        if stdin is not None:
            data = stdin.encode() if isinstance(stdin, str) else stdin
            arguments["input-data"] = base64.b64encode(data).decode()
        return Running(self, self.ask("guest-exec", **arguments)["pid"], shown, user)

    def put(self, files: Mapping[str, str | bytes], *, mode: int = 0o644, user: str = "root") -> None:
        """Write files, given by their full paths, with their folders."""
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w:gz") as archive:
            for path, content in files.items():
                data = content.encode() if isinstance(content, str) else content
                member = tarfile.TarInfo(path.lstrip("/"))
                member.size, member.mode, member.mtime = len(data), mode, int(time.time())
                member.uid = member.gid = USERS[user]
                archive.addfile(member, io.BytesIO(data))
        self.unpack(stream.getvalue())

    def copy_in(self, source: Path, target: str) -> None:
        """Copy a host file or folder to the path `target` of the guest, where it belongs to root."""

        def owned_by_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
            member.uid = member.gid = 0
            member.uname = member.gname = "root"
            return member

        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w:gz") as archive:
            archive.add(str(source), arcname=target.lstrip("/"), filter=owned_by_root)
        self.unpack(stream.getvalue())

    def copy_out(self, source: str, target: Path) -> None:
        """Copy a guest file or folder to the path `target` of the host."""
        parent, _, name = source.rstrip("/").rpartition("/")
        packed = self.run(
            f"tar -C {shlex.quote(parent or '/')} -cz {shlex.quote(name)} | base64 -w0", check=True
        )
        with tarfile.open(fileobj=io.BytesIO(base64.b64decode(packed.stdout)), mode="r:gz") as archive:
            members = _renamed(archive, name, target.name)
            archive.extractall(str(target.parent), members=members)

    def unpack(self, archive: bytes) -> None:
        """Unpack a gzipped tar over /; folders that exist keep what they are, links to folders too."""
        words = ["tar", "-xz", "--no-overwrite-dir", "--keep-directory-symlink", "-C", "/"]
        self.run(words, stdin=archive, check=True)


def _renamed(archive: tarfile.TarFile, old: str, new: str) -> list[tarfile.TarInfo]:
    members = archive.getmembers()
    for member in members:
        member.name = new + member.name[len(old) :]
    return members


def _decode(data: str | None) -> str:
    return base64.b64decode(data).decode(errors="replace") if data else ""
