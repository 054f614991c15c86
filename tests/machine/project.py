"""Build the project under test for a guest: `make install` inside the guest's own root tree.

So the plugin is compiled against the Slurm headers of that release and the package is installed by its
Python. The sources go in as git lists them, which leaves build products of the host out; the outcome is a
tar, cached by their hash.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from .cache import Cache, digest
from .image import Image, run_isolated
from .progress import Progress

FORMAT = "1"

MAKE_LIMIT = 600.0

BUILD = """
set -e
unset SLURM MAKEFLAGS
mount -t tmpfs build /mnt
mkdir /mnt/root
mount --bind "$1" /mnt/root
mount -o remount,bind,ro /mnt/root
mount -t tmpfs tmp /mnt/root/tmp
mount -t tmpfs -o mode=755 mnt /mnt/root/mnt
mkdir /mnt/root/mnt/project /mnt/root/mnt/stage
mount --bind "$2" /mnt/root/mnt/project
mount --bind "$3" /mnt/root/mnt/stage
mount -t proc proc /mnt/root/proc
[ -e /mnt/root/dev/null ] || mount --rbind /dev /mnt/root/dev
[ -z "$4" ] || [ -e "/mnt/root$4/include" ] || mount --rbind "$1$4" "/mnt/root$4"
export HOME=/tmp LANG=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin
set -- install DESTDIR=/mnt/stage PREFIX=/usr SLURM_CONF_DIR=/etc/slurm ${4:+"SLURM=$4"}
chroot /mnt/root make --directory=/mnt/project "$@"
"""
"""Everything but the sources' copy and the stage is read-only to the build, as the tree is shared by all
builds. The tree may be this machine's own, whose /dev and Slurm can be file systems of their own.
What names the site's Slurm to the tests names none to make."""


def build_project(project: Path, image: Image, cache: Cache, progress: Progress) -> Path:
    """A gzipped tar of what `make install` puts into the guest's root."""
    sources = source_files(project)
    key = digest(FORMAT, image.key, _hash(project, sources))

    def make(scratch: Path) -> None:
        progress(f"building the project for {image.release}")
        copy, stage = scratch / "source", scratch / "stage"
        for name in sources:
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(project / name, copy / name, follow_symlinks=False)
        stage.mkdir()
        _make_install(image, copy, stage)
        tar = ["tar", "-cz", "--owner=0", "--group=0", "--numeric-owner", "-C", str(stage)]
        entries = sorted(path.name for path in stage.iterdir())
        subprocess.run([*tar, "-f", str(scratch / "root.tar.gz"), *entries], check=True, timeout=120)
        shutil.rmtree(copy)
        shutil.rmtree(stage)

    return cache.entry(f"project-{image.release}", key, make, keep=4) / "root.tar.gz"


def source_files(project: Path) -> list[str]:
    """Tracked files and new ones that git does not ignore, as far as they exist."""
    command = ["git", "-C", str(project), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=60).stdout.decode()
    names = sorted({name for name in listing.split("\0") if name})
    return [name for name in names if os.path.lexists(project / name) and not name.startswith("tests/")]


def _hash(project: Path, names: list[str]) -> str:
    total = hashlib.sha256()
    for name in names:
        path = project / name
        total.update(f"{name}\0{path.lstat().st_mode & 0o111}\0".encode())
        total.update(
            str(path.readlink()).encode() if path.is_symlink() else hashlib.sha256(path.read_bytes()).digest()
        )
    return total.hexdigest()


def _make_install(image: Image, copy: Path, stage: Path) -> None:
    words = ["sh", "-c", BUILD, "sh", str(image.tree), str(copy), str(stage), image.prefix or ""]
    run_isolated(f"`make install` for {image.tree}", words, MAKE_LIMIT, network=False)
