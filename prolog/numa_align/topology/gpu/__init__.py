"""The GPUs of a machine, one module per vendor."""
