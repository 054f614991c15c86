"""Programs that place themselves, and the variable by which each is told that somebody else has. Pure.

Only what a program documents is in the table; docs/users.md says where.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

#: Variable -> the value by which the program keeps what it finds. TensorRT-LLM ("CPU Affinity configuration
#: in TensorRT LLM"): unset, it removes a mask that somebody else has set. NeMo-RL
#: (nemo_rl.distributed.numa_utils): unset, it binds again.
HANDS_OFF = {"TLLM_NUMA_AWARE_WORKER_AFFINITY": "0", "NRL_DISABLE_NUMA_BINDING": "1"}


def hands_off(environment: Mapping[str, str], cpus: Sequence[int], widest: Sequence[int]) -> dict[str, str]:
    """The variables to set for a process that was given ``cpus`` of the ``widest`` it could have.

    A process with all CPUs has no place to lose, and a program that starts workers may well place them.
    """
    if not cpus or set(cpus) >= set(widest):
        return {}
    return {name: value for name, value in HANDS_OFF.items() if name not in environment}
