"""Sparse autoencoders: which ones there are, how they are chosen and loaded, and where they sit in a model."""
