"""Slurm's configuration files, read by Slurm's own rules. Needs no other package."""
