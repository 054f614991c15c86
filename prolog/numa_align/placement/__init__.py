"""Who gets which CPUs and memory: pure decisions, without asking the machine anything."""
