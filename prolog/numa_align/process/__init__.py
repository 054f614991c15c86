"""What the kernel says about processes, and what it is told."""
