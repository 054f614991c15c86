"""Programs that only some machines have, as a second disk that overlays the first.

They are installed in a chroot of an overlay over the image's tree: what that writes is the layer. A machine
that asks for none boots as it did, and all the others share the image.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from .cache import Cache, digest, remove_tree
from .image import KERNEL, Image, ImageError, make_disk, run_isolated
from .progress import Progress

FORMAT = "1"
"""To be raised when this module builds a layer differently from the same inputs."""


@dataclass(frozen=True)
class Layer:
    """Debian's packages, and those of PyPI's that its Python has in an environment at ``place``; ``repair``
    are lines for a shell that end the installation.

    ``kernel`` is the package of the kernel that such a machine boots. Another one than the image's has an
    image of its own, as a kernel's modules are of no use to another.
    """

    name: str
    debian: tuple[str, ...]
    pypi: tuple[str, ...] = ()
    repair: str = ":"
    kernel: str = KERNEL

    @property
    def place(self) -> str:
        return f"/opt/{self.name}"


LAUNCHERS = Layer(
    "launchers",
    debian=("mpich", "openmpi-bin", "python3-torch", "python3-torchvision"),
    pypi=(
        "accelerate==1.15.0",
        "deepspeed==0.19.8",
        "distributed==2026.8.0",
        "lightning==2.6.6",
        "mosaicml==0.32.1",
        "ray==2.60.0",
    ),
    repair="""
        set -e
        cd /usr/lib/python3/dist-packages/torch/distributed/elastic/rendezvous
        sed -i 's/multi_tenant=True,/& use_libuv=False,/' *.py
        python3 -m compileall -q .
        cd /opt/launchers/lib/python3*/site-packages/ray/_private
        sed -i 's/raylet_start_wait_time_s = 30$/raylet_start_wait_time_s = 1800/' node.py
        python3 -m compileall -q node.py
    """,
)
"""What starts workers. Debian's PyTorch is built for CPUs alone, that of PyPI's brings gigabytes of CUDA.
Debian builds it without libuv, which torchrun asks for all the same: it is told not to. Ray's patience with
its own start is no option of its, and an emulated CPU needs more."""

RDMA = Layer(
    "rdma",
    debian=("ibverbs-providers", "ibverbs-utils", "perftest", "rdma-core", "ucx-utils"),
    kernel="linux-image-amd64",
)
"""Cards for RDMA that are software (rdma_rxe, RoCE over any network card), which the kernel for clouds lacks,
and what uses such cards."""

LIMIT = 3600.0

INSTALL = """
set -e
tree=$1 folder=$2 debian=$3 pypi=$4 place=$5 repair=$6
root=$folder/root
mkdir "$root" "$folder/work"
overlay=lowerdir=$tree,upperdir=$folder/layer,workdir=$folder/work
mount -t overlay -o "$overlay,index=off,metacopy=off,redirect_dir=off" layer "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
for scratch in /tmp /var/lib/apt/lists /var/cache/apt/archives; do
    mount -t tmpfs scratch "$root$scratch"
done
mkdir "$root/var/cache/apt/archives/partial"
for file in /etc/resolv.conf /etc/hosts /etc/pip.conf; do
    [ -e "$file" ] || continue
    [ -e "$root$file" ] || touch "$root$file"
    mount --bind "$file" "$root$file"
done
for directory in /etc/ssl/certs /etc/xdg/pip; do
    [ -d "$directory" ] || continue
    mkdir -p "$root$directory"
    mount --bind "$directory" "$root$directory"
done
export HOME=/tmp LANG=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive
chroot "$root" apt-get -q -o 'Acquire::Check-Valid-Until=false' update
chroot "$root" apt-get -q install --yes --no-install-recommends $debian
if [ -n "$pypi" ]; then
    chroot "$root" python3 -m venv --system-site-packages --without-pip "$place"
    chroot "$root" pip freeze 2>/dev/null | grep ^torch >"$root/tmp/same"
    chroot "$root" pip --python "$place/bin/python" install -qq --no-cache-dir --no-build-isolation \
        --constraint /tmp/same $pypi
fi
chroot "$root" sh -c "$repair"
"""
"""With the host's ways to the packages. Debian's own Python packages cannot be replaced, so PyPI's are in an
environment above them; the constraint keeps Debian's PyTorch there. No build is isolated, since DeepSpeed
comes as sources that ask the PyTorch that is there."""


def layer_disk(layer: Layer, image: Image, cache: Cache, progress: Progress) -> Path:
    """The disk of a layer over this image, built if the cache has none of the same inputs."""
    key = digest(FORMAT, INSTALL, image.tree.parent.name, *layer.debian, *layer.pypi, layer.repair)

    def make(scratch: Path) -> None:
        if os.geteuid() != 0:
            raise ImageError("building a layer needs root: it installs packages in a chroot")
        progress(f"installing {layer.name} over {image.release} (about five minutes, once)")
        files = scratch / "layer"
        files.mkdir(mode=0o755)
        _install(layer, image.tree, scratch)
        make_disk(files, scratch / "layer.ext4")
        for rest in (files, scratch / "work", scratch / "root"):
            remove_tree(rest)

    return cache.entry(f"layer-{layer.name}-{image.release}", key, make) / "layer.ext4"


def _install(layer: Layer, tree: Path, folder: Path) -> None:
    script = ["sh", "-c", INSTALL, "sh", str(tree), str(folder)]
    arguments = [" ".join(layer.debian), " ".join(layer.pypi), layer.place, layer.repair]
    run_isolated(f"installing {layer.name} over {tree}", [*script, *arguments], LIMIT)
