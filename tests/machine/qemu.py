"""Run one QEMU process, which never outlives this program."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import background
from .cache import Cache, digest
from .hardware import Hardware
from .image import Image

QEMU = "qemu-system-x86_64"

TCG = ("-accel", "tcg,thread=multi", "-cpu", "max,cx16=off,la57=off,erms=off,fsrm=off,smap=off,smep=off")
"""Software emulation. Without cx16: the emulated CMPXCHG16B of QEMU 7.2 loses against an interrupt now and
then, and the kernel's allocator (slub), which uses it, then dies at boot. Without la57: a page walk has four
levels instead of five. Without erms and fsrm: with them the kernel and the C library copy and clear by `rep
movsb` and `rep stosb`, which are emulated byte by byte, and the disk is read less than half as fast. Without
smap and smep: their checks are emulated for each copy from and to a program."""

WITH_THREADS = (*TCG[:-1], f"{TCG[-1]},vendor=GenuineIntel")
"""For a machine whose cores have several threads: the emulated CPU is else an AMD one of family 15, on which
Linux 6.1 (Debian 12) takes every thread for a core."""

PATCHED = b"Oops: int3: "
"""The words of a kernel that has met a breakpoint that it does not know. It sets one while it patches a
branch of its code (text_poke_bp_batch() of arch/x86/kernel/alternative.c) and takes it back once every CPU
has seen the patch; a CPU that is emulated by a thread of its own can run its old translation after that. Real
CPUs and KVM never do."""

KVM = ("-accel", "kvm", "-cpu", "host")

KVM_TRIAL = 20.0
"""Seconds a kernel may take under KVM to come as far as looking for its root. Nested KVM can be there and
hang."""

KERNEL_WORDS = (
    "console=ttyS0 quiet panic=-1 oops=panic mitigations=off nokaslr audit=0 apparmor=0 nowatchdog "
    "tsc=reliable random.trust_cpu=on norandmaps"
)
"""panic=-1 with -no-reboot makes a kernel panic end QEMU, so that it is seen at once rather than by a
time-out. tsc=reliable keeps the kernel from
falling back to a clock whose every reading leaves the emulated CPU. norandmaps: QEMU finds code that it has
translated sooner where the address is the same in every process; a step takes 15 % less."""


class QemuError(RuntimeError):
    """QEMU did not start or ended by itself; the message has its output and the guest's console."""


class Qemu:
    """A started QEMU with the guest's console in a file and the guest agent's channel on a socket."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="machine-"))
        self.console = self.folder / "console"
        self.agent_socket = self.folder / "agent"
        self.monitor_socket = self.folder / "monitor"
        fixed = [
            "-nodefaults",
            "-no-user-config",
            "-no-reboot",
            "-display", "none",
            "-serial", f"file:{self.console}",
            "-qmp", f"unix:{self.monitor_socket},server=on,wait=off",
            "-device", "virtio-serial-pci,bus=pcie.0",
            "-chardev", f"socket,id=agent,path={self.agent_socket},server=on,wait=off",
            "-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0",
        ]  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = background.call(self._spawn, [*arguments, *fixed])

    def _spawn(self, arguments: list[str]) -> subprocess.Popen[bytes]:
        """Run under setpriv, so that the kernel kills QEMU when we die, even by SIGKILL."""
        with (self.folder / "output").open("wb") as output:
            return subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", QEMU, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        if self._process is None:
            raise QemuError("QEMU has been stopped")
        return self._process.pid

    def ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def crashed(self) -> bool:
        """Whether the emulator is at fault for the end: a signal killed it, or the guest stumbled over a
        patch of its own code (see PATCHED)."""
        if self._process is None or self._process.poll() is None:
            return False
        return self._process.returncode < 0 or PATCHED in self._console()

    def _console(self) -> bytes:
        try:
            return self.console.read_bytes()
        except OSError:
            return b""

    def check(self) -> None:
        """Raise if QEMU has ended."""
        if self.ended():
            raise QemuError(f"QEMU ended by itself\n{self.said()}")

    def said(self) -> str:
        """The ends of QEMU's own output and of the guest's console."""
        parts = []
        for title, path in (("QEMU", self.folder / "output"), ("console", self.console)):
            with contextlib.suppress(OSError):
                parts.append(f"--- {title}\n{path.read_bytes()[-4000:].decode(errors='replace').strip()}")
        return "\n".join(parts)

    def stop(self) -> None:
        """Kill it: nothing it writes is kept, so there is nothing to shut down."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(timeout=30)
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass(frozen=True)
class Link:
    """One end of a cable between two machines: a Unix socket, on which the first machine (`number` 1)
    listens."""

    socket: Path
    number: int

    def qemu_arguments(self) -> list[str]:
        """No option ROM, since nothing boots from it and it is a package of its own."""
        side = "on" if self.number == 1 else "off"
        address = f"52:54:00:10:11:{self.number:02x}"
        return [
            "-netdev", f"stream,id=link,server={side},addr.type=unix,addr.path={self.socket}",
            "-device", f"virtio-net-pci,netdev=link,mac={address},romfile=,bus=pcie.0",
        ]  # fmt: skip


def boot_arguments(
    image: Image,
    topology: Hardware,
    words: str,
    accelerator: Sequence[str],
    *,
    link: Link | None = None,
    layer: Path | None = None,
) -> list[str]:
    """Everything that makes the guest; the disks are pinned to pcie.0 since QEMU else takes the last bridge
    it made.

    `layer` is a second disk, whose files lie over those of the first.
    """
    disks = [_disk("root", image.disk), *([_disk("layer", layer)] if layer is not None else [])]
    return [
        "-machine", "q35",
        *(WITH_THREADS if topology.threads > 1 and accelerator == TCG else accelerator),
        "-kernel", str(image.kernel),
        "-initrd", str(image.initramfs),
        "-append", f"{KERNEL_WORDS} {words}",
        *itertools.chain.from_iterable(disks),
        *(link.qemu_arguments() if link is not None else ()),
        *topology.qemu_arguments(),
    ]  # fmt: skip


def _disk(name: str, file: Path) -> list[str]:
    """Opened read-only, and the guest mounts it so; cache=unsafe spares flushes that nobody needs."""
    return [
        "-drive", f"file={file},if=none,id={name},format=raw,readonly=on,cache=unsafe",
        "-device", f"virtio-blk-pci,drive={name},bus=pcie.0,num-queues=1",
    ]  # fmt: skip


def accelerator(image: Image, cache: Cache) -> Sequence[str]:
    """KVM if it boots a kernel on this host, else emulation; tried once for each boot of the host."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return TCG
    boot = Path("/proc/sys/kernel/random/boot_id").read_text()

    def make(scratch: Path) -> None:
        (scratch / "works").write_text("yes" if _kvm_works(image) else "no")

    entry = cache.entry("kvm", digest(boot), make)
    return KVM if (entry / "works").read_text() == "yes" else TCG


def _kvm_works(image: Image) -> bool:
    """Whether a guest without any disk comes to its panic (and so to its end) in time, with more CPUs than
    one."""
    command = [
        QEMU, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-machine", "q35", *KVM,
        "-smp", "2", "-m", "512M", "-serial", "stdio",
        "-kernel", str(image.kernel), "-append", "console=ttyS0 panic=-1",
    ]  # fmt: skip
    begin = time.monotonic()
    try:
        done = subprocess.run(
            ["setpriv", "--pdeathsig", "KILL", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=KVM_TRIAL,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return b"VFS: Unable to mount root" in done.stdout and time.monotonic() - begin < KVM_TRIAL
