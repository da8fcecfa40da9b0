"""Searches for circuits: what a method is, and what methods share."""
