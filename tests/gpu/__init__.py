"""What only real GPUs show: the driver, NVML, CUDA, and Slurm that hands these GPUs out."""
