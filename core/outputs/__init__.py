"""Output files: whether they can be written, whether that would lose a file of the user's, and one writer at a time."""
