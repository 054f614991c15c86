"""What the kernel reports about processes, and what it is asked to change."""
