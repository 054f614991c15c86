"""The subcommands that write and check Slurm's configuration."""
