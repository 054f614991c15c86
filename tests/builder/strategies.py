"""Hypothesis strategies: any machine that `Machine` can describe."""

from __future__ import annotations

from hypothesis import strategies as st
from numa_align.names import Source

from .machine import GIB, Device, ExtraNode, Machine

_UUIDS = st.uuids().map(lambda uuid: f"GPU-{uuid}")


def _gpus(nodes: list[int], one_node: bool) -> st.SearchStrategy[list[Device]]:
    """GPUs on these nodes, whose node a reader can find out in the way that their source names."""
    several: list[Source] = ["numa_node", "local_cpulist", "bridge", "none"]
    sources: list[Source] = ["numa_node", "only-node"] if one_node else several

    def device(source: Source, node: int, uuid: str) -> Device:
        return Device(node=None if source == "none" else node, source=source, uuid=uuid)

    return st.lists(st.builds(device, st.sampled_from(sources), st.sampled_from(nodes), _UUIDS), max_size=10)


@st.composite
def machines(draw: st.DrawFn) -> Machine:
    """Up to 4 packages, 8 nodes and 128 CPUs; with gaps, offline CPUs and nodes without CPUs."""
    packages, nodes = draw(st.sampled_from([(1, 1), (1, 2), (2, 1), (1, 4), (2, 2), (4, 1), (2, 4)]))
    caches, cores, smt = draw(st.integers(1, 2)), draw(st.integers(1, 4)), draw(st.sampled_from([1, 2, 4]))
    count = packages * nodes
    ids = draw(st.lists(st.integers(0, 300), min_size=count + 2, max_size=count + 2, unique=True))
    extra_sizes = draw(st.lists(st.sampled_from([0, 16 * GIB]), max_size=2))
    extra = [
        ExtraNode(id_, size, "memory" if size else "gpu-memory")
        for id_, size in zip(ids[count:], extra_sizes)
    ]
    has_gpu_memory = any(node.memory_bytes == 0 for node in extra)
    apart = draw(st.booleans())
    shape = Machine(packages, nodes, caches, cores, smt, siblings_apart=apart, node_ids=tuple(ids[:count]))
    # The first CPU of a core stays, so that no node loses all its CPUs.
    may_go_offline = [cpu for threads in shape.threads for cpu in threads[1:]]
    offline = draw(st.sets(st.sampled_from(may_go_offline), max_size=5)) if may_go_offline else set()
    # An NVIDIA GPU turns memory beside a reserved node into GPU memory, which a test of its own shows.
    gpus = [] if has_gpu_memory or extra else draw(_gpus(ids[:count], count == 1))
    return Machine(
        packages,
        nodes,
        caches,
        cores,
        smt,
        gpus=tuple(gpus),
        siblings_apart=apart,
        node_ids=tuple(ids[:count]),
        extra_nodes=tuple(extra),
        offline=tuple(sorted(offline)),
        old_kernel=draw(st.booleans()),
        has_caches=draw(st.booleans()),
    )
