"""Slurm's configuration for machines with GPUs: generated, compared, checked.

Facts in (`facts`, `live`), text out (`gres`, `slurm`, `cgroup`, `plugstack`, `lua`); what is between is
pure. Nothing here writes a file.
"""
