# Copyright 2026 the numa-align developers.
#
# SPDX-License-Identifier: Apache-2.0

from spack.package import *


class NumaAlign(MakefilePackage):
    """Bind every task of a Slurm step to the CPUs and the memory nearest to its GPUs: a SPANK plugin, a job
    prolog and a command."""

    # A site names its mirror or checkout: spack install numa-align@=main, or spack develop.
    url = "file:///srv/numa-align/numa-align-0.1.0.tar.gz"

    license("Apache-2.0", checked_by="numa-align")

    # No checksum stands here: `make dist` prints it, and `spack checksum` enters it.
    version("0.1.0")

    depends_on("c", type="build")
    depends_on("gmake", type="build")
    depends_on("slurm@22.05:", type=("build", "link"))
    depends_on("python@3.9:", type=("build", "run"))
    depends_on("py-cffi@1.14.5:", type=("build", "run"))
    depends_on("py-setuptools", type="build")
    depends_on("py-click@8.0:", type="run")
    depends_on("py-psutil@5.8:", type="run")
    depends_on("py-rich@13.1:", type="run")

    def _words(self, spec, prefix):
        """The plugin is for the Slurm that Spack has; plugstack.conf of that Slurm stays the site's."""
        return [
            f"SLURM={spec['slurm'].prefix}",
            f"PYTHON={spec['python'].command.path}",
            f"PREFIX={prefix}",
            f"SYSCONFDIR={prefix.etc}",
            f"SLURM_CONF_DIR={prefix.etc.slurm}",
        ]

    def build(self, spec, prefix):
        make("plugin", "claim", *self._words(spec, prefix))

    def install(self, spec, prefix):
        make("install", *self._words(spec, prefix))
