"""The audit: measures that say whether a circuit is to be believed. One file for each group of measures.

`lines.py` lists them in the order in which they are computed, `run.py` runs them.
"""
