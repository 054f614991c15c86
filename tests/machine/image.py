"""Build the root file system, kernel and disk that a guest boots, once for each Debian release.

The tree is kept beside the disk made of it, because the project under test is built inside it: there it finds
the Slurm headers, the Python and the C library of the machine that it will run on.
"""

from __future__ import annotations

import lzma
import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from .cache import Cache, digest
from .progress import Progress

FORMAT = "1"
"""To be raised when this module builds an image differently from the same inputs."""

RELEASES = {"22.05": "bookworm", "24.11": "trixie", "26.05": "forky"}
"""Slurm version -> the Debian release that has it."""

GUEST_FILES = Path(__file__).with_name("guest")

GUEST_PACKAGES = (
    "busybox-static",
    "iproute2",
    "kmod",
    "munge",
    "numactl",
    "procps",
    "python3",
    "python3-cffi-backend",
    "python3-click",
    "python3-numpy",
    "python3-psutil",
    "python3-rich",
    "qemu-guest-agent",
    "slurm-client",
    "slurmctld",
    "slurmd",
    "util-linux",
)

KERNEL = "linux-image-cloud-amd64"
"""The smallest of Debian's; a machine may ask for another (Layer)."""

BUILD_PACKAGES = (
    "gcc",
    "libc6-dev",
    "libslurm-dev",
    "make",
    "python3-cffi",
    "python3-dev",
    "python3-pip",
    "python3-setuptools",
    "python3-wheel",
)

MODULES = ("virtio_pci", "virtio_blk", "ext4", "overlay", "virtio_console")
"""What the kernel needs to find its root and to talk to us; which of them are built in differs by release."""

USERS = (("user", 1000), ("mallory", 1001))

SPARE_INODES = 4096

MIRROR_VARIABLE = "NUMA_ALIGN_MIRROR"

BUILD_LIMIT = 1800.0


class ImageError(RuntimeError):
    """An image could not be built; the message ends with the output of what failed."""


@dataclass(frozen=True)
class Image:
    """A built image: `tree` to build in, the other three to boot; `key` changes with any of them.

    `prefix` is where Slurm is in the tree, None where it is Debian's package.
    """

    release: str
    key: str
    tree: Path
    disk: Path
    kernel: Path
    initramfs: Path
    prefix: Optional[str] = None


def find_mirror() -> str:
    """The Debian archive that this host's apt is configured with; NUMA_ALIGN_MIRROR overrides it."""
    override = os.environ.get(MIRROR_VARIABLE)
    if override:
        return override
    wanted = ["--format", "$(LABEL)|$(COMPONENT)|$(REPO_URI)", "Created-By: Packages"]
    for line in run_on_host(["apt-get", "indextargets", *wanted], 60).splitlines():
        label, component, uri = line.split("|", 2)
        if label == "Debian" and component == "main":
            return uri
    raise ImageError(f"apt knows no Debian archive: run `apt-get update`, or set {MIRROR_VARIABLE}")


def image_for(slurm: str, cache: Cache, progress: Progress, kernel: str = KERNEL) -> Image:
    """The image with that Slurm version and kernel, built if the cache has none of the same inputs.

    Our own scripts are in the initramfs rather than on the disk, so that changing one costs no new
    installation.
    """
    if slurm not in RELEASES:
        raise ValueError(f"no Slurm {slurm!r}: known are {', '.join(RELEASES)}")
    release = RELEASES[slurm]
    packages = (*sorted((*GUEST_PACKAGES, kernel)), *BUILD_PACKAGES)
    root_key = digest(FORMAT, release, *packages, repr(USERS))
    name = release if kernel == KERNEL else f"{kernel}-{release}"
    root = cache.entry(
        f"root-{name}", root_key, lambda scratch: _build_root(release, packages, scratch, progress)
    )
    tree = root / "tree"
    scripts = [path.name + path.read_text() for path in sorted(GUEST_FILES.iterdir()) if path.is_file()]
    boot_key = digest(root_key, *MODULES, *scripts)
    boot = cache.entry(f"boot-{name}", boot_key, lambda scratch: _make_initramfs(tree, scratch))
    return Image(release, boot_key, tree, root / "root.ext4", root / "vmlinuz", boot / "initramfs")


def _build_root(release: str, packages: Sequence[str], folder: Path, progress: Progress) -> None:
    if os.geteuid() != 0:
        raise ImageError("building an image needs root: it installs packages in a chroot")
    tree = folder / "tree"
    progress(f"installing Debian {release} with Slurm (about 90 s, once)")
    _install(release, packages, tree)
    progress(f"making the disk of {release}")
    _add_users(tree)
    shutil.copy(_kernel(tree), folder / "vmlinuz")
    make_disk(tree, folder / "root.ext4")


def _kernel(tree: Path) -> Path:
    return sorted((tree / "boot").glob("vmlinuz-*"))[-1]


def _install(release: str, packages: Sequence[str], tree: Path) -> None:
    """mmdebstrap, in mount and PID namespaces of its own, so that nothing stays mounted however it ends.

    INITRD=No is what the kernel package's hook for initramfs-tools looks at: our own initramfs is smaller and
    starts no udev. A testing release's index may be past its date on a mirror. A release newer than the
    host's keyring is refused; a newer debian-archive-keyring is the answer to that.
    """
    options = [
        "--quiet",
        "--variant=minbase",
        "--mode=root",
        "--format=directory",
        '--aptopt=Acquire::Check-Valid-Until "false"',
        '--aptopt=APT::Install-Recommends "false"',
        "--dpkgopt=path-exclude=/usr/share/man/*",
        "--dpkgopt=path-exclude=/usr/share/locale/*",
        "--dpkgopt=path-exclude=/usr/share/doc/*/*",
        "--include=" + ",".join(packages),
    ]
    source = f"deb {find_mirror()} {release} main"
    isolated = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    command = [*isolated, "env", "INITRD=No", "mmdebstrap", *options, release, str(tree), source]
    run_on_host(command, BUILD_LIMIT)


def _add_users(tree: Path) -> None:
    """Append to the account files, as a tree has no running system that useradd could lock them against."""
    for name, number in USERS:
        home = tree / "home" / name
        home.mkdir(mode=0o755)
        os.chown(home, number, number)
        lines = {
            "passwd": f"{name}:x:{number}:{number}::/home/{name}:/bin/bash\n",
            "group": f"{name}:x:{number}:\n",
            "shadow": f"{name}:!:19000:0:99999:7:::\n",
        }
        for file, line in lines.items():
            with (tree / "etc" / file).open("a") as stream:
                stream.write(line)


def _make_initramfs(tree: Path, folder: Path) -> None:
    """Busybox, the few modules that are not built in, and our scripts, packed by that same busybox."""
    root = folder / "initramfs.d"
    for name in ("bin", "modules", "machine", "dev", "lower", "layer", "ram", "root"):
        (root / name).mkdir(parents=True)
    shutil.copy(tree / "bin/busybox", root / "bin/busybox")
    for script, place in (("initramfs", "init"), ("init", "machine/init"), ("slurm", "machine/slurm")):
        shutil.copy(GUEST_FILES / script, root / place)
        (root / place).chmod(0o755)
    version = _kernel(tree).name[len("vmlinuz-") :]
    for position, module in enumerate(_modules_in_order(tree, version)):
        target = root / "modules" / f"{position:02d}-{module.name.split('.')[0]}.ko"
        target.write_bytes(_decompressed(module))
    pack = f"cd {shlex.quote(str(root))} && find . | ./bin/busybox cpio -o -H newc"
    with (folder / "initramfs").open("wb") as stream:
        subprocess.run(["sh", "-c", pack], stdout=stream, stderr=subprocess.DEVNULL, check=True, timeout=60)
    shutil.rmtree(root)


def _modules_in_order(tree: Path, version: str) -> Sequence[Path]:
    """The files to insert, dependencies first; `builtin` lines name what the kernel has anyway."""
    listing = run_on_host(
        ["chroot", str(tree), "modprobe", "-S", version, "--show-depends", "-a", *MODULES], 60
    )
    files: list[Path] = []
    for line in listing.splitlines():
        words = line.split()
        if words and words[0] == "insmod":
            path = tree / words[1].lstrip("/")
            if path not in files:
                files.append(path)
    return files


def _decompressed(module: Path) -> bytes:
    """Busybox's insmod takes no compressed module; Debian compresses with xz since trixie."""
    data = module.read_bytes()
    return lzma.decompress(data) if module.suffix == ".xz" else data


def make_disk(tree: Path, disk: Path) -> None:
    """An ext4 image of a tree, without a mount or a loop device.

    Without a journal, as it is only ever read: the guest writes to an overlay in its memory.
    """
    kibibytes, inodes = _size(tree)
    options = ["-q", "-F", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-N", str(inodes + SPARE_INODES)]
    run_on_host(["mke2fs", *options, "-d", str(tree), str(disk), f"{int(kibibytes * 1.15) + 65536}k"], 600)


def _size(tree: Path) -> tuple[int, int]:
    """KiB and number of files; mke2fs does not work them out itself."""
    kibibytes = int(run_on_host(["du", "-s", "--apparent-size", "-k", str(tree)], 120).split()[0])
    blocks = int(run_on_host(["du", "-s", "-k", str(tree)], 120).split()[0])
    inodes = int(run_on_host(["du", "-s", "--inodes", str(tree)], 120).split()[0])
    return max(kibibytes, blocks), inodes


def run_isolated(what: str, words: Sequence[str], limit: float, *, network: bool = True) -> None:
    """A program as root in namespaces of its own, which take every mount and process away when it ends."""
    spaces = ["--mount", "--pid", "--fork", "--kill-child", *([] if network else ["--net"])]
    done = subprocess.run(
        ["unshare", *spaces, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=limit,
        check=False,
    )
    if done.returncode:
        raise ImageError(f"{what} ended with status {done.returncode}:\n{done.stdout[-6000:]}")


def run_on_host(command: Sequence[str], limit: float) -> str:
    """Standard output of a host command; its whole output is in the error if it fails."""
    try:
        done = subprocess.run(
            list(command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
        )
    except FileNotFoundError:
        packages = Path(__file__).with_name("apt-packages.txt").read_text().split()
        raise ImageError(
            f"{command[0]} is not installed; this needs the packages {' '.join(packages)}"
        ) from None
    if done.returncode:
        words = " ".join(shlex.quote(word) for word in command)
        raise ImageError(
            f"{words}\nended with status {done.returncode}:\n{(done.stdout + done.stderr)[-4000:]}"
        )
    return done.stdout
