"""Edges of a circuit: what each node gives to each other, exactly, and circuits of edges."""
