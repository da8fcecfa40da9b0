"""The circuit searches."""
