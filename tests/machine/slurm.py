"""Write the configuration of the test cluster.

`SlurmConfig` says what a test varies; everything else is what real slurmctld and slurmd need to come up
quickly in a guest without systemd. A full replacement text for a file is taken as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .hardware import Hardware

PLUGSTACK_INCLUDE = "include /etc/slurm/plugstack.conf.d/*.conf"

MEMORY_SHARE = 0.75
"""Of a node's memory is given to Slurm: the kernel keeps some, and RealMemory above what slurmd finds is an
error."""


@dataclass(frozen=True)
class Node:
    """A node as slurm.conf names it."""

    name: str
    address: str
    topology: Hardware


@dataclass(frozen=True)
class SlurmConfig:
    """One configuration of the cluster.

    `prolog`, `epilog`, `prolog_flags` and `plugstack_include` hold only on a machine with a project
    installed; None leaves the line out. The extra lines come last, so that they win where Slurm lets the last
    one win.
    """

    task_plugin: str | None = "task/affinity,task/cgroup"
    task_plugin_param: str | None = None
    proctrack: str = "proctrack/cgroup"
    select_parameters: str = "CR_Core"
    constrain_cores: bool = True
    constrain_devices: bool = True
    gres_cores: bool = True
    numa_node_as_socket: bool = False
    node_extra: str = ""
    prolog: str | None = "/usr/sbin/numa-align-prolog"
    epilog: str | None = "/usr/sbin/numa-align-epilog"
    prolog_flags: str | None = "Contain"
    plugstack_include: str | None = PLUGSTACK_INCLUDE
    slurm_extra: tuple[str, ...] = ()
    gres_extra: tuple[str, ...] = ()
    cgroup_extra: tuple[str, ...] = ()
    plugstack_extra: tuple[str, ...] = ()
    slurm_conf: str | None = None
    gres_conf: str | None = None
    cgroup_conf: str | None = None
    plugstack_conf: str | None = None

    def files(
        self, nodes: Sequence[Node], *, cgroup: int = 2, with_project: bool = False, first_job: int = 1
    ) -> dict[str, str]:
        """The texts by path; the first node runs slurmctld."""
        generated = {
            "slurm": (self.slurm_conf, self._slurm_lines(nodes, with_project, first_job)),
            "gres": (self.gres_conf, self._gres_lines(nodes)),
            "cgroup": (self.cgroup_conf, self._cgroup_lines(cgroup)),
            "plugstack": (self.plugstack_conf, self._plugstack_lines(with_project)),
        }
        return {
            f"/etc/slurm/{name}.conf": replacement
            if replacement is not None
            else "".join(f"{x}\n" for x in lines)
            for name, (replacement, lines) in generated.items()
        }

    def _slurm_lines(self, nodes: Sequence[Node], with_project: bool, first_job: int) -> Iterator[str]:
        """Job numbers go on from one configuration to the next, so that what one job left behind meets no
        namesake."""
        yield "ClusterName=test"
        yield f"SlurmctldHost={nodes[0].name}({nodes[0].address})"
        yield "AuthType=auth/munge"
        yield "SlurmUser=root"
        yield "StateSaveLocation=/var/spool/slurmctld"
        yield "SlurmdSpoolDir=/var/spool/slurmd"
        yield "SlurmctldPidFile=/run/slurmctld.pid"
        yield "SlurmdPidFile=/run/slurmd.pid"
        yield "SlurmctldLogFile=/var/log/slurm/slurmctld.log"
        yield "SlurmdLogFile=/var/log/slurm/slurmd.log"
        yield "MailProg=/bin/true"
        yield "MpiDefault=none"
        yield "ReturnToService=2"
        yield "MessageTimeout=60"
        yield "SchedulerParameters=batch_sched_delay=0"
        yield "SelectType=select/cons_tres"
        yield f"SelectTypeParameters={self.select_parameters}"
        yield f"ProctrackType={self.proctrack}"
        if self.task_plugin is not None:
            yield f"TaskPlugin={self.task_plugin}"
        if self.task_plugin_param is not None:
            yield f"TaskPluginParam={self.task_plugin_param}"
        if self.numa_node_as_socket:
            yield "SlurmdParameters=numa_node_as_socket"
        yield f"FirstJobId={first_job}"
        if with_project:
            for name, value in (
                ("Prolog", self.prolog),
                ("Epilog", self.epilog),
                ("PrologFlags", self.prolog_flags),
            ):
                if value is not None:
                    yield f"{name}={value}"
        if any(node.topology.gpus for node in nodes):
            yield "GresTypes=gpu"
        for node in nodes:
            yield self._node_line(node)
        names = ",".join(node.name for node in nodes)
        yield f"PartitionName=main Nodes={names} Default=YES MaxTime=INFINITE State=UP"
        yield from self.slurm_extra

    def _node_line(self, node: Node) -> str:
        topology = node.topology
        sockets = topology.cpu_nodes if self.numa_node_as_socket else topology.packages
        words = [
            f"NodeName={node.name}",
            f"NodeAddr={node.address}",
            f"Sockets={sockets}",
            f"CoresPerSocket={topology.cores // sockets}",
            f"ThreadsPerCore={topology.threads}",
            f"RealMemory={int(topology.total_memory * MEMORY_SHARE)}",
            "State=UNKNOWN",
        ]
        if topology.gpus:
            words.append(f"Gres=gpu:{len(topology.gpus)}")
        if self.node_extra:
            words.append(self.node_extra)
        return " ".join(words)

    def _gres_lines(self, nodes: Sequence[Node]) -> Iterator[str]:
        """Cores= names cores, not CPUs, and must be whole sockets as Slurm counts sockets (24.11 and later
        check it)."""
        for node in nodes:
            topology = node.topology
            span = 1 if self.numa_node_as_socket else topology.nodes_per_package
            for gpu in topology.gpu_table():
                words = [f"NodeName={node.name}", "Name=gpu", f"File={gpu.device}"]
                if self.gres_cores and gpu.node is not None and topology.cpus_of_node(gpu.node):
                    first = gpu.node // span * span * topology.cores_per_node
                    words.append(f"Cores={first}-{first + span * topology.cores_per_node - 1}")
                yield " ".join(words)
        yield from self.gres_extra

    def _cgroup_lines(self, cgroup: int) -> Iterator[str]:
        """IgnoreSystemd: without it slurmd asks systemd over D-Bus for its scope; 22.05 knows it for v2 as
        well."""
        yield f"CgroupPlugin=cgroup/v{cgroup}"
        if cgroup == 2:
            yield "IgnoreSystemd=yes"
        yield f"ConstrainCores={_yes(self.constrain_cores)}"
        yield f"ConstrainDevices={_yes(self.constrain_devices)}"
        yield from self.cgroup_extra

    def _plugstack_lines(self, with_project: bool) -> Iterator[str]:
        if with_project and self.plugstack_include is not None:
            yield self.plugstack_include
        yield from self.plugstack_extra


def _yes(value: bool) -> str:
    return "yes" if value else "no"
