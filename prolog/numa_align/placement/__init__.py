"""Which process gets which CPUs and memory: pure decisions, without queries to the machine."""
