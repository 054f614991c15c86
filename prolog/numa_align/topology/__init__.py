"""What the machine is: CPUs, NUMA nodes, cores and GPUs, read from sysfs and procfs."""
