"""Prompts: what a task is, how it is read from a file, tokenized and aligned."""
