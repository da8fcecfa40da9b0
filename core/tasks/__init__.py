"""Tasks: pairs of prompts, built in or read from a file, tokenised and aligned by position."""
