"""Runs of searches, one after another or in workers: their records, results files and comparisons."""
