"""The GPUs of a machine, one module for each vendor."""
