"""What Slurm runs: the job's prolog and epilog, and the task prolog."""
