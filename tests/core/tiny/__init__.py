"""Random models, SAEs and tasks, small enough to be checked one prompt at a time."""
