"""A circuit on any prompt: the prompt's positions, its references, and what M, M_s and the circuit make of it."""
