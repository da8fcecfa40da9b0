"""Searches run one after another, what each left behind, and what follows from many of them."""
