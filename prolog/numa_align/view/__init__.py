"""How machines, plans and bindings are shown."""
