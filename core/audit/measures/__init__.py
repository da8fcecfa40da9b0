"""The measures of an audit, one file for each group of lines.

A constant `…_LIMITS` is the pair that `grade` takes: a line is good up to the first number, doubtful up to the second.
"""
