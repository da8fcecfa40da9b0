"""The circuit file: its schema, reading and writing it, and comparing it with recomputed numbers."""
