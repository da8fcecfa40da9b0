"""The splice: SAEs put into a model, with the nodes outside of a circuit ablated."""
