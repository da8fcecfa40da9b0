"""Sparse autoencoders: their registry, choosing and loading them, and their sites in a model."""
