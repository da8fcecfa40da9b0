"""How work is run: in increments, in parallel, within the memory of a device."""
