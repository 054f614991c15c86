"""Slurm's configuration for machines with GPUs: generated, compared, checked.

It takes facts (`facts`, `live`) and returns text (`gres`, `slurm`, `cgroup`, `plugstack`, `lua`); everything
in between is pure. Nothing here writes a file.
"""
