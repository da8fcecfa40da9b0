"""An audit: how far a circuit is to be believed, line by line.

`run.py` runs the lines of `lines.py`; each is computed by a measure in `measures/` and ends in a `Finding`.
"""
